"""What `scripts/setup.py` is made of: pins (versions and digests), the cache folder, and one module per thing laid out in it."""
