"""What a client does, without I/O: requests, replies, routing, retries."""
