"""Client and server libraries: one package or module each, all with the same verbs."""
