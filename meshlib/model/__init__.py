"""The resources as frozen, typed structs: one file per kind, named as in Istio's API."""
