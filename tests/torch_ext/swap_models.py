"""Real architectures in small: configurations of Hugging Face transformers, weights drawn at random."""

import os

import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded

WORDS = 40
TEXT = {"vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
BERT = {**TEXT, "intermediate_size": 32, "max_position_embeddings": 24}
LLAMA = {**BERT, "num_key_value_heads": 1, "use_cache": False}
IMAGE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
IMAGE |= {"image_size": 16, "patch_size": 8}
SPEECH = {"conv_dim": (8, 8), "conv_kernel": (4, 3), "conv_stride": (2, 2), "num_feat_extract_layers": 2}
SPEECH |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
SPEECH |= {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
ENCODER_DECODER = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
ENCODER_DECODER |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}


def words(**more):
    return {"input_ids": torch.randint(3, WORDS, (2, 7)), **more}


def pairs():
    return words(decoder_input_ids=torch.randint(3, WORDS, (2, 5)))


def image(size=16):
    return {"pixel_values": torch.randn(2, 3, size, size).double()}


def speech():
    return {"input_values": torch.randn(2, 200).double()}


def spectrogram():
    return {
        "input_features": torch.randn(2, 8, 20).double(),
        "decoder_input_ids": torch.randint(3, WORDS, (2, 5)),
    }


# Each: the model's class, the configuration's, its values, and the arguments of a call.
MODELS = {
    "BERT": ("BertForMaskedLM", "BertConfig", BERT, words),
    "RoBERTa": ("RobertaForMaskedLM", "RobertaConfig", BERT, words),
    "DistilBERT": (
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        {"vocab_size": WORDS, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
        words,
    ),
    "ALBERT": ("AlbertForMaskedLM", "AlbertConfig", {**BERT, "embedding_size": 8}, words),
    "ELECTRA": ("ElectraForPreTraining", "ElectraConfig", {**BERT, "embedding_size": 8}, words),
    "MPNet": ("MPNetModel", "MPNetConfig", BERT, words),
    "DeBERTa-v2": (
        "DebertaV2Model",
        "DebertaV2Config",
        {**BERT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8},
        words,
    ),
    "GPT-2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": WORDS, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24, "use_cache": False},
        words,
    ),
    "GPT-Neo": (
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        {
            "vocab_size": WORDS,
            "hidden_size": 16,
            "num_layers": 2,
            "num_heads": 2,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 24,
            "use_cache": False,
        },
        words,
    ),
    "OPT": (
        "OPTForCausalLM",
        "OPTConfig",
        {**TEXT, "ffn_dim": 32, "max_position_embeddings": 24, "word_embed_proj_dim": 16, "use_cache": False},
        words,
    ),
    "BLOOM": (
        "BloomForCausalLM",
        "BloomConfig",
        {"vocab_size": WORDS, "hidden_size": 16, "n_layer": 2, "n_head": 2, "use_cache": False},
        words,
    ),
    "LLaMA": ("LlamaForCausalLM", "LlamaConfig", LLAMA, words),
    "Mistral": ("MistralForCausalLM", "MistralConfig", LLAMA, words),
    "Qwen2": ("Qwen2ForCausalLM", "Qwen2Config", LLAMA, words),
    "Gemma": ("GemmaForCausalLM", "GemmaConfig", {**LLAMA, "head_dim": 8}, words),
    "Phi": ("PhiForCausalLM", "PhiConfig", {**LLAMA, "num_key_value_heads": 2}, words),
    "Falcon": ("FalconForCausalLM", "FalconConfig", {**TEXT, "use_cache": False}, words),
    "T5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {"vocab_size": WORDS, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2},
        pairs,
    ),
    "BART": ("BartForConditionalGeneration", "BartConfig", {**ENCODER_DECODER, "vocab_size": WORDS}, pairs),
    "Whisper": (
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        {
            **ENCODER_DECODER,
            "vocab_size": WORDS,
            "num_mel_bins": 8,
            "max_source_positions": 10,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
        },
        spectrogram,
    ),
    "ViT": ("ViTForImageClassification", "ViTConfig", IMAGE, image),
    "DINOv2": ("Dinov2ForImageClassification", "Dinov2Config", IMAGE, image),
    "CLIP": (
        "CLIPModel",
        "CLIPConfig",
        {"text_config": BERT, "vision_config": IMAGE, "projection_dim": 8},
        lambda: words(**image()),
    ),
    "Wav2Vec2": ("Wav2Vec2ForCTC", "Wav2Vec2Config", {**SPEECH, "vocab_size": 12}, speech),
    "HuBERT": ("HubertModel", "HubertConfig", SPEECH, speech),
    "ResNet": (
        "ResNetForImageClassification",
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
        lambda: image(32),
    ),
    "ConvNeXt": (
        "ConvNextForImageClassification",
        "ConvNextConfig",
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
        lambda: image(32),
    ),
    "Swin": (
        "SwinForImageClassification",
        "SwinConfig",
        {
            "image_size": 16,
            "patch_size": 2,
            "embed_dim": 8,
            "depths": [1, 1],
            "num_heads": [2, 2],
            "window_size": 4,
        },
        image,
    ),
    "MobileNetV2": (
        "MobileNetV2ForImageClassification",
        "MobileNetV2Config",
        {"image_size": 32, "depth_multiplier": 0.25},
        lambda: image(32),
    ),
    "SegFormer": (
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sr_ratios": [2, 1],
            "hidden_sizes": [8, 16],
            "patch_sizes": [7, 3],
            "strides": [4, 2],
            "num_attention_heads": [1, 2],
            "mlp_ratios": [2, 2],
            "decoder_hidden_size": 16,
        },
        lambda: image(32),
    ),
    "Mamba": (
        "MambaForCausalLM",
        "MambaConfig",
        {
            "vocab_size": WORDS,
            "hidden_size": 16,
            "state_size": 4,
            "num_hidden_layers": 2,
            "use_cache": False,
        },
        words,
    ),
}


def build(name):
    """The model in float64, in training mode, and the arguments of a call."""
    import transformers

    model_class, config_class, values, inputs = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, config_class)(**values)
    model = getattr(transformers, model_class)._from_config(config, attn_implementation="eager")
    with torch.no_grad():  # every parameter counts
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.double().train(), inputs()
