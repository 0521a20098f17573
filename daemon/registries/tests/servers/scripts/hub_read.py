"""What the official client finds in a repository: python3 hub_read.py REPOSITORY REVISION FOLDER

The files of a revision are downloaded into the folder; prints commits and tags, the SHA-256 of each file, and which are in LFS.
"""

import hashlib
import json
import sys
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

repository, revision, folder = sys.argv[1:]
place = Path(snapshot_download(repository, revision=revision, cache_dir=folder))
files = {str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest() for path in place.rglob("*") if path.is_file()}
api = HfApi()
commits = [{"id": it.commit_id, "title": it.title} for it in api.list_repo_commits(repository)]
tags = {it.name: it.target_commit for it in api.list_repo_refs(repository).tags}
lfs = [it.path for it in api.list_repo_tree(repository, revision=revision, recursive=True) if getattr(it, "lfs", None)]
private = api.repo_info(repository).private
print(json.dumps({"commits": commits, "tags": tags, "files": files, "lfs": lfs, "private": private}))
