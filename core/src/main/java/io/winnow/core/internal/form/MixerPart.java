package io.winnow.core.internal.form;

/** The weights that a layer's sequence mixer may consist of. */
public enum MixerPart {
  QUERY,
  KEY,
  VALUE,
  OUTPUT,
  QUERY_BIAS,
  KEY_BIAS,
  VALUE_BIAS,
  OUTPUT_BIAS,
  QUERY_NORM,
  KEY_NORM,
  /** A logit per query head that takes part in the softmax without a value (gpt-oss). */
  SINKS,
  /** From the input to what the heads' outputs are multiplied with. */
  GATE,
  /** From the input to the latent vector of queries, with its bias and norm. */
  QUERY_DOWN,
  QUERY_DOWN_BIAS,
  QUERY_DOWN_NORM,
  /** From the latent vector to queries. */
  QUERY_UP,
  /** From the input to the latent vector of keys and values and the rotated key. */
  LATENT,
  LATENT_BIAS,
  LATENT_NORM,
  /** From the latent vector to keys and values. */
  LATENT_UP;

  /** Returns whether the weight is a matrix that the model's type is for; others are float32. */
  public boolean isMatrix() {
    return switch (this) {
      case QUERY, KEY, VALUE, OUTPUT, GATE, QUERY_DOWN, QUERY_UP, LATENT, LATENT_UP -> true;
      default -> false;
    };
  }

  /** Returns the name that the weight has in most checkpoints. */
  String commonName() {
    return switch (this) {
      case QUERY -> "q_proj.weight";
      case KEY -> "k_proj.weight";
      case VALUE -> "v_proj.weight";
      case OUTPUT -> "o_proj.weight";
      case QUERY_BIAS -> "q_proj.bias";
      case KEY_BIAS -> "k_proj.bias";
      case VALUE_BIAS -> "v_proj.bias";
      case OUTPUT_BIAS -> "o_proj.bias";
      case QUERY_NORM -> "q_norm.weight";
      case KEY_NORM -> "k_norm.weight";
      case SINKS -> "sinks";
      case GATE -> "gate_proj.weight";
      case QUERY_DOWN -> "q_a_proj.weight";
      case QUERY_DOWN_BIAS -> "q_a_proj.bias";
      case QUERY_DOWN_NORM -> "q_a_layernorm.weight";
      case QUERY_UP -> "q_b_proj.weight";
      case LATENT -> "kv_a_proj_with_mqa.weight";
      case LATENT_BIAS -> "kv_a_proj_with_mqa.bias";
      case LATENT_NORM -> "kv_a_layernorm.weight";
      case LATENT_UP -> "kv_b_proj.weight";
    };
  }
}
