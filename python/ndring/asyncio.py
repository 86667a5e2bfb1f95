"""The client for asyncio. ::

    from ndring.asyncio import NumPyRedis

    async with NumPyRedis() as client:
        await client.set("k", array, ex=60)
        array = await client.get("k")
"""
from ._aio.client import NumPyRedis
from ._aio.pipeline import Pipeline
from ._aio.views import ArrayView

__all__ = ["ArrayView", "NumPyRedis", "Pipeline"]
