"""moto's S3 on loopback: python3 serve_s3.py PORT"""

import sys

from moto.server import main

main(["-H", "127.0.0.1", "-p", sys.argv[1]])
