"""The names of spans' attributes: those of OpenTelemetry's conventions for GenAI, and our own.

The conventions are in development, and their names still change: they are written here alone.
https://github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai/client-inference.md and openai.md.
"""

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_CHOICES = "gen_ai.request.choice.count"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"  # seconds
RESPONSE_SERVICE_TIER = "openai.response.service_tier"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR = "error.type"
USER = "user.name"

# Attributes of our own.
REQUEST_ID = "chatgpt_agent.request.id"  # as in the ledger
STATE = "chatgpt_agent.request.state"
COST = "chatgpt_agent.request.cost"  # USD

# Of each count of a usage; parts are counted in their whole, as in ours.
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
PARTS = {
    "cached": "gen_ai.usage.cache_read.input_tokens",
    "cache_write": "gen_ai.usage.cache_write.input_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
    "audio_input": "gen_ai.usage.audio.input_tokens",
    "audio_output": "gen_ai.usage.audio.output_tokens",
    "image_input": "gen_ai.usage.image.input_tokens",
    "image_output": "gen_ai.usage.image.output_tokens",
    "cached_audio": "gen_ai.usage.audio.cache_read.input_tokens",
    "cached_image": "gen_ai.usage.image.cache_read.input_tokens",
}

# The operation of an endpoint; that of another is the endpoint's own name, which the conventions allow.
OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/images/generations": "generate_content",
    "/v1/images/edits": "generate_content",
    "/v1/audio/transcriptions": "generate_content",
    "GET /v1/responses/{id}": "fetch_response",
}
