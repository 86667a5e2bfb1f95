"""The driver of the client for asyncio."""
