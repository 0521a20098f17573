"""What boto3 finds in a bucket: python3 read_s3.py URL BUCKET [PREFIX]; makes the bucket where there is none.

Prints each object's modification time and content's SHA-256; small ones also as text.
"""

import hashlib
import json
import sys

import boto3
from botocore.config import Config

url, bucket = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=url, config=Config(s3={"addressing_style": "path"}))
if bucket not in [it["Name"] for it in s3.list_buckets()["Buckets"]]:
    s3.create_bucket(Bucket=bucket)
objects = {}
for it in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
    content = s3.get_object(Bucket=bucket, Key=it["Key"])["Body"].read()
    text = content.decode() if it["Key"].endswith(".json") else None
    objects[it["Key"]] = {"modified": str(it["LastModified"]), "sha256": hashlib.sha256(content).hexdigest(), "text": text}
print(json.dumps(objects))
