"""Keys that trainers of others know, those about preference training: of axolotl 0.19.0 and LLaMA-Factory 0.9.5."""

from __future__ import annotations

AXOLOTL = frozenset({
    # the model
    "base_model", "revision_of_model", "base_model_config", "tokenizer_type", "tokenizer_config",
    "trust_remote_code", "special_tokens", "chat_template", "chat_template_jinja", "default_system_message",
    # the objective
    "rl", "rl_beta", "orpo_alpha", "rpo_alpha", "simpo_gamma", "cpo_alpha", "kto_desirable_weight",
    "kto_undesirable_weight",
    "dpo_loss_type", "dpo_loss_weights", "dpo_use_weighting", "dpo_label_smoothing", "precompute_ref_log_probs",
    # the data
    "datasets", "test_datasets", "val_set_size", "dataset_prepared_path", "sequence_len", "excess_length_strategy",
    "sample_packing", "pad_to_sequence_len", "remove_unused_columns",
    # adapters
    "adapter", "load_in_8bit", "load_in_4bit", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules",
    "lora_target_linear", "peft_use_rslora",
    # the training
    "micro_batch_size", "gradient_accumulation_steps", "eval_batch_size", "num_epochs", "max_steps", "learning_rate",
    "lr_scheduler", "warmup_steps", "optimizer", "weight_decay", "max_grad_norm", "bf16", "fp16",
    "tf32", "gradient_checkpointing", "flash_attention", "deepspeed", "fsdp", "seed",
    # what is kept
    "eval_steps", "evals_per_epoch", "eval_strategy", "save_steps", "saves_per_epoch", "save_strategy", "logging_steps",
    "output_dir",
})  # fmt: skip
AXOLOTL_DATASET = frozenset({
    "path", "ds_type", "split", "type", "name", "data_files", "revision", "field_messages", "field_chosen",
    "field_rejected", "message_property_mappings", "roles", "chat_template",
})  # fmt: skip

LLAMA_FACTORY = frozenset({
    "model_name_or_path", "model_revision", "adapter_name_or_path", "trust_remote_code", "flash_attn",
    "quantization_bit", "quantization_type", "double_quantization",
    "stage", "do_train", "finetuning_type", "lora_rank", "lora_alpha", "lora_dropout", "lora_target", "pref_beta",
    "pref_loss", "pref_ftx", "simpo_gamma", "ld_alpha", "dpo_label_smoothing", "ref_model", "pure_bf16",
    "template", "dataset", "eval_dataset", "dataset_dir", "cutoff_len", "max_samples", "val_size", "packing",
    "overwrite_cache", "preprocessing_num_workers",
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "num_train_epochs",
    "max_steps", "learning_rate", "lr_scheduler_type", "warmup_steps", "optim", "weight_decay",
    "max_grad_norm", "bf16", "fp16", "eval_strategy", "eval_steps", "save_strategy", "save_steps", "logging_steps",
    "report_to", "seed", "output_dir",
})  # fmt: skip
LLAMA_FACTORY_DATASET = frozenset({"file_name", "hf_hub_url", "formatting", "ranking", "columns", "tags", "split"})
LLAMA_FACTORY_COLUMNS = frozenset({"messages", "chosen", "rejected", "system", "tools", "prompt", "query", "response"})
LLAMA_FACTORY_TAGS = frozenset({
    "role_tag", "content_tag", "user_tag", "assistant_tag", "system_tag", "observation_tag", "function_tag",
})  # fmt: skip
