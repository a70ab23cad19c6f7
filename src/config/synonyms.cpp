#include "src/config/synonyms.h"

#include <algorithm>
#include <cctype>
#include <string>
#include <unordered_map>

namespace midfill {

namespace {

// Names of Hugging Face's Trainer and model configurations, Megatron-LM, GPT-NeoX, nanoGPT, llm.c,
// torchtitan, llm-foundry and LLMQ.
constexpr Synonym kSynonyms[] = {
    {"seed", "", "random_seed manual_seed data_seed rng_seed global_seed"},

    {"model", "", "model_config architecture arch network transformer"},
    {"model.n_layers", "", "n_layer num_layers num_hidden_layers layers depth"},
    {"model.d_model", "", "hidden_size n_embd dim embed_dim embedding_dim model_dim width"},
    {"model.n_heads", "", "n_head num_heads num_attention_heads heads"},
    {"model.d_ff", "", "d_ffn intermediate_size ffn_hidden_size ffn_dim n_inner mlp_dim"},
    {"model.d_ff", "the width itself, not a ratio", "mlp_ratio expansion_ratio ffn_mult"},
    {"model.n_ctx", "",
     "seq_length seq_len sequence_length block_size context_length context_size ctx_len "
     "max_position_embeddings max_seq_len max_seq_length max_sequence_length n_positions"},
    {"model.vocab_size", "", "padded_vocab_size n_vocab num_embeddings"},
    {"model.vocab_multiple", "",
     "make_vocab_size_divisible_by pad_vocab_size_multiple pad_to_multiple_of"},
    {"model.rotary_pct", "", "rotary_percent partial_rotary_factor rope_pct rotary_fraction"},
    {"model.rotary_base", "", "rope_theta rotary_emb_base rope_base rotary_theta"},
    {"model.parallel_residual", "",
     "gpt_j_residual use_parallel_residual parallel_attn parallel_block"},
    {"model.activation", "",
     "hidden_act hidden_activation activation_function activation_fn act_fn mlp_activation"},
    {"model.tied_embeddings", "",
     "tie_word_embeddings tie_embeddings tied_word_embeddings weight_tying tie_weights"},
    {"model.tied_embeddings", "true and false are the other way round",
     "no_weight_tying untie_embeddings untie_embeddings_and_output_weights"},
    {"model.layer_norm_eps", "",
     "layernorm_epsilon norm_eps norm_epsilon rms_norm_eps "
     "rms_norm_epsilon"},
    {"model.init", "\"normal\" or \"neox\"",
     "init_method output_layer_init_method initializer weight_init init_method_std "
     "initializer_range init_std"},

    {"data", "", "dataset_config datasets dataloader data_config"},
    {"data.tokenizer", "the path of a tokenizer.json",
     "vocab_file tokenizer_path tokenizer_file tokenizer_name tokenizer_model tokenizer_dir "
     "tokenizer_name_or_path merge_file"},
    {"data.train", "the prefix of a dataset, or a list of sources",
     "train_data train_data_path train_data_paths train_path train_file train_files train_dataset "
     "data_path data_paths data_prefix data_dir dataset dataset_path train_data_weights "
     "data_weights"},
    {"data.valid", "the prefix of a dataset, or a list of sources",
     "valid_data valid_data_path valid_data_paths valid_path val_data val_path val_file val_files "
     "validation_data validation_file eval_data eval_file eval_dataset valid_dataset val_dataset "
     "test_data_paths valid_data_weights"},
    {"data.threads", "", "num_workers dataloader_num_workers data_workers loader_threads"},
    {"data.ahead", "in steps", "prefetch_factor dataloader_prefetch_factor prefetch"},

    {"fim.rate", "", "fim_rate fim_prob fim_probability infill_rate"},
    {"fim.psm fim.spm1 fim.spm2", "weights of the modes",
     "fim_spm_rate spm_rate psm_rate fim_spm_prob spm_prob spm"},

    {"optim", "", "optimizer optimiser optimization optimizer_config"},
    {"optim.lr", "", "learning_rate max_lr peak_lr base_lr max_learning_rate lr_max"},
    {"optim.min_lr_ratio", "a share of optim.lr",
     "min_lr min_learning_rate lr_min final_lr lr_end final_lr_fraction min_lr_factor min_lr_frac "
     "learning_rate_decay_frac alpha_f"},
    {"optim.schedule", "",
     "scheduler lr_scheduler lr_decay_style lr_scheduler_type lr_schedule lr_scheduler_name "
     "scheduler_type decay_type "
     "lr_decay_type learning_rate_schedule scheduler_name decay_lr"},
    {"optim.warmup_steps", "",
     "warmup_iters lr_warmup_steps lr_warmup_iters num_warmup_steps warmup_iterations "
     "t_warmup"},
    {"optim.warmup_steps", "in steps", "warmup_tokens warmup_samples lr_warmup_samples"},
    {"optim.warmup", "", "warmup_ratio warmup_fraction lr_warmup_fraction lr_warmup_ratio"},
    {"optim.decay", "a share of all steps, for schedule wsd",
     "decay_steps num_decay_steps cooldown_steps cooldown_iters lr_wsd_decay_iters decay_ratio "
     "decay_fraction cooldown_fraction"},
    {"optim.beta1", "", "adam_beta1"},
    {"optim.beta2", "", "adam_beta2"},
    {"optim.beta1 optim.beta2", "", "betas adam_betas"},
    {"optim.eps", "", "adam_eps adam_epsilon epsilon optimizer_eps"},
    {"optim.weight_decay", "", "wd adam_weight_decay l2"},
    {"optim.clip", "",
     "grad_clip gradient_clipping max_grad_norm clip_grad clip_grad_norm grad_clip_norm "
     "gradient_clip_val max_norm clip_norm grad_norm_clip clipping_threshold"},

    {"train", "", "training trainer training_args training_arguments runtime"},
    {"train.steps", "",
     "max_steps max_iters train_iters num_steps total_steps num_iterations train_steps "
     "num_train_steps max_train_steps training_steps max_updates max_update n_steps iterations"},
    {"train.steps", "the schedule ends with the run", "lr_decay_iters lr_decay_steps max_lr_steps"},
    {"train.steps", "in steps of train.batch_tokens tokens",
     "num_train_epochs num_epochs max_epochs epochs max_duration max_tokens train_tokens "
     "total_tokens train_samples"},
    {"train.batch_tokens", "in tokens: samples times model.n_ctx",
     "batch_size global_batch_size train_batch_size global_train_batch_size total_batch_size "
     "effective_batch_size"},
    {"train.batch_tokens", "train.batch_tokens / model.n_ctx / train.micro_batch micro-batches",
     "gradient_accumulation_steps grad_accumulation grad_accum_steps gradient_accumulation "
     "grad_accum accumulate_grad_batches accumulation_steps update_freq"},
    {"train.micro_batch", "",
     "micro_batch_size train_micro_batch_size_per_gpu per_device_train_batch_size "
     "device_train_microbatch_size device_batch_size local_batch_size per_gpu_batch_size "
     "micro_batch_size_per_gpu"},
    {"train.threads", "", "num_threads n_threads cpu_threads omp_num_threads"},
    {"train.dtype", "\"f32\" or \"bf16\"",
     "bf16 fp16 fp32 tf32 precision mixed_precision mixed_precision_param amp torch_dtype "
     "params_dtype compute_dtype"},
    {"train.recompute", "\"none\", \"gelu+norm\" or \"block\"",
     "activation_checkpointing activation_checkpoint gradient_checkpointing "
     "checkpoint_activations recompute_activations recompute_granularity remat"},
    {"train.cuda_graph", "", "cuda_graphs use_cuda_graph use_cuda_graphs enable_cuda_graph"},
    {"train.on_nonfinite", "\"skip\" or \"stop\"", "check_for_nan_in_loss skip_nan skip_nan_steps"},

    {"eval", "", "evaluation validation eval_config"},
    {"eval.every", "in steps",
     "eval_interval eval_steps eval_every eval_freq eval_frequency evaluation_steps val_interval "
     "val_every val_check_interval validation_interval val_loss_every eval_every_n_steps"},
    {"eval.samples", "in samples, not batches",
     "eval_iters eval_batches val_iters val_steps val_batches num_eval_batches eval_max_batches "
     "limit_val_batches val_max_steps eval_num_steps eval_subset_num_batches"},

    {"checkpoint", "", "checkpoints checkpointing checkpoint_config ckpt"},
    {"checkpoint.every", "in steps",
     "save_interval save_every save_steps save_freq checkpoint_interval checkpoint_every "
     "checkpoint_steps checkpoint_factor checkpoint_frequency ckpt_interval ckpt_every"},
    {"checkpoint.keep_last", "",
     "keep_last_n_checkpoints save_total_limit keep_latest_k keep_last_n max_checkpoints "
     "save_num_checkpoints_to_keep checkpoints_to_keep keep_checkpoints"},

    {"log", "", "logging metrics logger logging_config"},
    {"log.every", "in steps",
     "log_interval logging_steps log_every log_freq log_frequency log_steps print_freq "
     "print_interval steps_per_print log_every_n_steps console_log_interval"},
    {"log.tensorboard", "true or false",
     "tensorboard_dir tensorboard_log_dir enable_tensorboard use_tensorboard report_to "
     "save_tb_folder"},
    {"log.peak_tflops", "", "peak_flops flops_promised gpu_peak_flops device_peak_tflops"},
};

// "learning-rate", "learningRate" and "learning_rate" are one name.
std::string plain(std::string_view name) {
  std::string letters;
  for (const unsigned char c : name)
    if (std::isalnum(c)) letters += static_cast<char>(std::tolower(c));
  return letters;
}

std::unordered_map<std::string, const Synonym*> by_name() {
  std::unordered_map<std::string, const Synonym*> found;
  for (const Synonym& synonym : kSynonyms)
    for (std::string_view rest = synonym.names; !rest.empty();) {
      const size_t end = std::min(rest.find(' '), rest.size());
      found.emplace(plain(rest.substr(0, end)), &synonym);
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  return found;
}

}  // namespace

std::span<const Synonym> synonyms() {
  return kSynonyms;
}

const Synonym* find_synonym(std::string_view name) {
  static const auto all = by_name();
  // "eval.interval" whole, as eval_interval; then without its section.
  while (true) {
    const auto found = all.find(plain(name));
    if (found != all.end()) return found->second;
    const size_t dot = name.find('.');
    if (dot == name.npos) return nullptr;
    name.remove_prefix(dot + 1);
  }
}

}  // namespace midfill
