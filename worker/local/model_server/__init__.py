"""The local model: OpenAI's protocol over HTTP, without a key and without a provider.

It answers by quoting the passages in the prompt, embeds with all-MiniLM-L6-v2, and fails in any way that a test asks
for.
"""

from worker.local.model_server.serving import main

__all__ = ["main"]
