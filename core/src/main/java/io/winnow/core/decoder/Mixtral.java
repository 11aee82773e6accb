package io.winnow.core.decoder;

import io.winnow.core.InvalidInputException;
import io.winnow.core.SoftmaxRouting;
import io.winnow.core.checkpoint.CheckpointConfig;

/** Mixtral (arXiv 2401.04088): softmax over the experts, top-k, renormalised. */
final class Mixtral {
  private static final String LAYER = "model.layers.{layer}.";
  private static final String ATTENTION = LAYER + "self_attn.";
  private static final String MOE = LAYER + "block_sparse_moe.";
  private static final String EXPERT = MOE + "experts.{expert}.";

  static final Family FAMILY =
      new Family(
          "mixtral",
          "num_local_experts",
          "num_experts_per_tok",
          Mixtral::config,
          config -> SoftmaxRouting.of(config.topK(), true),
          new Family.TensorNames(
              "model.embed_tokens.weight",
              LAYER + "input_layernorm.weight",
              ATTENTION + "q_proj.weight",
              ATTENTION + "k_proj.weight",
              ATTENTION + "v_proj.weight",
              ATTENTION + "o_proj.weight",
              LAYER + "post_attention_layernorm.weight",
              MOE + "gate.weight",
              EXPERT + "w1.weight",
              EXPERT + "w3.weight",
              EXPERT + "w2.weight",
              "model.norm.weight",
              "lm_head.weight"));

  private Mixtral() {}

  private static DecoderConfig config(CheckpointConfig json) {
    String activation = json.string("hidden_act").orElse("silu");
    if (!activation.equals("silu")) {
      throw new InvalidInputException(
          "hidden_act is '" + activation + "' in config.json; Mixtral's experts use 'silu'");
    }
    String rope =
        json.string("rope_parameters.rope_type", "rope_scaling.rope_type", "rope_scaling.type")
            .orElse("default");
    if (!rope.equals("default")) {
      throw new InvalidInputException(
          "The rotary embedding is scaled by '"
              + rope
              + "' (rope_parameters or rope_scaling in config.json); 'default' is supported");
    }
    int hiddenSize = json.requirePositiveInt("hidden_size");
    int heads = json.requirePositiveInt("num_attention_heads");
    DecoderConfig config =
        new DecoderConfig(
            json.requirePositiveInt("vocab_size"),
            hiddenSize,
            json.requirePositiveInt("num_hidden_layers"),
            heads,
            json.intOr(heads, "num_key_value_heads"),
            json.intOr(hiddenSize / heads, "head_dim"),
            json.requirePositiveInt("intermediate_size"),
            json.requirePositiveInt("num_local_experts"),
            json.requirePositiveInt("num_experts_per_tok"),
            json.doubleOr(1e-5, "rms_norm_eps"),
            json.doubleOr(1e6, "rope_parameters.rope_theta", "rope_theta"),
            json.requirePositiveInt("max_position_embeddings"),
            json.intOr(0, "sliding_window"),
            json.booleanOr(false, "tie_word_embeddings"));
    if (config.keyValueHeads() < 1 || heads % config.keyValueHeads() != 0) {
      throw new InvalidInputException(
          "num_key_value_heads is "
              + config.keyValueHeads()
              + " in config.json, which does not divide num_attention_heads, "
              + heads);
    }
    if (config.headSize() < 2 || config.headSize() % 2 != 0) {
      throw new InvalidInputException(
          "A head has " + config.headSize() + " elements; rotary embedding needs an even number");
    }
    if (config.ropeTheta() <= 0 || config.epsilon() < 0) {
      throw new InvalidInputException(
          "rope_theta is "
              + config.ropeTheta()
              + " and rms_norm_eps "
              + config.epsilon()
              + " in config.json; the first must be positive, the second not negative");
    }
    if (config.topK() > config.experts()) {
      throw new InvalidInputException(
          "num_experts_per_tok is "
              + config.topK()
              + " in config.json, more than num_local_experts, "
              + config.experts());
    }
    return config;
  }
}
