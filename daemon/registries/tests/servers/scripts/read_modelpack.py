"""ModelPack's own client pulls an artifact: python3 read_modelpack.py HOST REPOSITORY TAG USER PASSWORD FOLDER

It checks manifest, config and digests itself; prints the config and the SHA-256 of each file.
"""

import hashlib
import json
import sys
from pathlib import Path

from modelpack_client import ModelPackClient

host, repository, tag, user, password, folder = sys.argv[1:]
client = ModelPackClient(insecure=True, auth_backend="basic")
client.login(host, user, password, config_path=f"{folder}.login.json")
pulled = client.pull(f"{host}/{repository}:{tag}", folder)
files = {str(path.relative_to(Path(folder).resolve())): hashlib.sha256(path.read_bytes()).hexdigest() for path in pulled.files}
print(json.dumps({"config": pulled.config, "files": files}))
