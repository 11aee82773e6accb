package io.winnow.core.internal.form;

/** The weights that a layer's attention may consist of. Not part of the API. */
public enum AttentionPart {
  /** Of the norm before the attention. */
  NORM,
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
      case QUERY, KEY, VALUE, OUTPUT, QUERY_DOWN, QUERY_UP, LATENT, LATENT_UP -> true;
      default -> false;
    };
  }
}
