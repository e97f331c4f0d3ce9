"""Certificates of the workload: the development CA, and TLS contexts for servers that verify their peers."""

from meshlib.security.authority import CertificateFiles, DevelopmentCA
from meshlib.security.server import server_context

__all__ = ["CertificateFiles", "DevelopmentCA", "server_context"]
