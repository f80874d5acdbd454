"""The Flask app that Label Studio talks to: requests in, predictions and queued jobs out, no model loaded.

Routes are thin: parse, call, answer. `context` is what one app keeps for its life; `health` says what is in service
from files alone, so that /health is fast whatever else goes on. One process with threads: caches, merged requests and
background work are in it.
"""
