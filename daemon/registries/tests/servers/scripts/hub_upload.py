"""The official client uploads a folder: python3 hub_upload.py REPOSITORY FOLDER; prints the commit."""

import sys

from huggingface_hub import HfApi

repository, folder = sys.argv[1:]
api = HfApi()
api.create_repo(repository, private=True, exist_ok=True)
print(api.upload_folder(repo_id=repository, folder_path=folder).oid)
