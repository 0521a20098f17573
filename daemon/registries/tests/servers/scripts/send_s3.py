"""boto3 sends a file and reads it back: python3 send_s3.py URL BUCKET FILE"""

import os
import sys

import boto3
from botocore.config import Config

url, bucket, file = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=url, config=Config(s3={"addressing_style": "path"}))
s3.upload_file(file, bucket, "boto3/file")
with open(os.devnull, "wb") as nowhere:
    s3.download_fileobj(bucket, "boto3/file", nowhere)
