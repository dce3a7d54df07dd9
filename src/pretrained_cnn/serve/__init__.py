"""A classifier as an HTTP service, which ``pretrained-cnn serve`` runs.

A request passes through `gate` (key, log line, metrics), `uploads` (bytes, within limits), `model` (decoded in threads)
and `batching` (what waits goes through the network together); `server` holds the processes. Needs
``pretrained-cnn[serve]``, and nothing of TensorFlow where the classifier does not.
"""
