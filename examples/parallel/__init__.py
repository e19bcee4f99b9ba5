"""Many activities at once, with ordinary asyncio."""
