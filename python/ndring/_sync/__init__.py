"""The driver of the blocking client: sockets and threads."""
