"""Functions under the mesh's policies: ``mesh.call``, ``mesh.run`` and ``mesh.attempt``."""
