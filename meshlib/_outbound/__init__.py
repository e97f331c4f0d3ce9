"""What the client adapters share: TLS towards endpoints, lifetimes of connections, mirrors sent by threads."""
