"""A price list in the format of LiteLLM's model_prices_and_context_window.json; models and figures are invented."""

from typing import Any

FLAGS = {"supports_vision": True, "max_tokens": 16384, "supported_endpoints": ["/v1/chat/completions"]}
SEARCH = {"search_context_size_high": 0.05, "search_context_size_low": 0.03}

LIST: dict[str, Any] = {
    "sample_spec": {
        "input_cost_per_token": 0.0,
        "litellm_provider": "one of https://docs.litellm.ai/docs/providers",
        "mode": "one of: chat, embedding",
        "max_tokens": "LEGACY parameter",
    },
    "gpt-one": {
        "cache_read_input_token_cost": 2.5e-07,
        "cache_read_input_token_cost_flex": 1.3e-07,
        "cache_read_input_token_cost_above_272k_tokens": 5e-07,
        "input_cost_per_token": 2.5e-06,
        "input_cost_per_token_flex": 1.25e-06,
        "input_cost_per_token_batches": 1.25e-06,
        "input_cost_per_token_above_272k_tokens": 5e-06,
        "input_cost_per_token_above_272k_tokens_flex": 2.5e-06,
        "litellm_provider": "openai",
        "mode": "chat",
        "output_cost_per_token": 1.5e-05,
        "output_cost_per_token_flex": 7.5e-06,
        "output_cost_per_token_batches": 7.5e-06,
        "output_cost_per_token_above_272k_tokens": 2.25e-05,
        "regional_processing_uplift_multiplier_eu": 1.1,
        "search_context_cost_per_query": SEARCH,
        **FLAGS,
    },
    "openai/gpt-one": {
        "input_cost_per_token": 9e-06,
        "output_cost_per_token": 9e-06,
        "litellm_provider": "openai",
        "mode": "chat",
    },
    "openai/gpt-two": {
        "input_cost_per_token": 1e-06,
        "input_cost_per_token_priority": 3e-06,
        "output_cost_per_token": 2e-06,
        "output_cost_per_reasoning_token": 2e-06,
        "litellm_provider": "openai",
        "mode": "responses",
    },
    "gpt-sound": {
        "input_cost_per_audio_token": 4e-05,
        "input_cost_per_token": 2.5e-06,
        "output_cost_per_audio_token": 8e-05,
        "output_cost_per_token": 1e-05,
        "cache_creation_input_token_cost": 3e-06,
        "litellm_provider": "openai",
        "mode": "chat",
    },
    "gpt-picture": {
        "cache_read_input_token_cost": 1.25e-06,
        "input_cost_per_image_token": 1e-05,
        "input_cost_per_token": 5e-06,
        "output_cost_per_image_token": 4e-05,
        "litellm_provider": "openai",
        "mode": "image_generation",
    },
    "vectors-small": {
        "input_cost_per_token": 2e-08,
        "output_cost_per_token": 0.0,
        "output_vector_size": 1536,
        "litellm_provider": "openai",
        "mode": "embedding",
    },
    "vectors-bare": {"input_cost_per_token": 2e-08, "litellm_provider": "openai", "mode": "embedding"},
    "text-completion-openai/old-instruct": {
        "input_cost_per_token": 1.5e-06,
        "output_cost_per_token": 2e-06,
        "litellm_provider": "text-completion-openai",
        "mode": "completion",
    },
    "listener": {
        "input_cost_per_second": 0.0001,
        "output_cost_per_second": 0.0001,
        "litellm_provider": "openai",
        "mode": "audio_transcription",
    },
    "low/1024-x-1024/gpt-picture": {
        "input_cost_per_image": 0.009,
        "litellm_provider": "openai",
        "mode": "image_generation",
    },
    "1024-x-1024/painter": {
        "input_cost_per_pixel": 1.9e-08,
        "output_cost_per_pixel": 0.0,
        "litellm_provider": "openai",
        "mode": "image_generation",
    },
    "gpt-live": {
        "input_cost_per_token": 4e-06,
        "output_cost_per_token": 1.6e-05,
        "litellm_provider": "openai",
        "mode": "realtime",
    },
    "thinker": {
        "input_cost_per_token": 4e-06,
        "output_cost_per_token": 1.6e-05,
        "output_cost_per_reasoning_token": 3e-05,
        "litellm_provider": "openai",
        "mode": "chat",
    },
    "nameless": {"litellm_provider": "openai", "mode": "chat"},
    "other/gpt-one": {
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 1e-06,
        "litellm_provider": "other",
        "mode": "chat",
    },
}
