"""Requests to OpenAI and their answers: the one place that knows curl."""

import logging

# At DEBUG this logger prints header fields, among them Authorization.
logging.getLogger("tornado.curl_httpclient").setLevel(logging.WARNING)
