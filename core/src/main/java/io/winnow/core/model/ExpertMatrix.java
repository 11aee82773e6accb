package io.winnow.core.model;

/** The matrices of an expert, {@code down(activation(gate(x)) * up(x))}. */
public enum ExpertMatrix {
  /** {@code [intermediateSize, hiddenSize]}, w1 of Mixtral. */
  GATE,
  /** {@code [intermediateSize, hiddenSize]}, w3 of Mixtral. */
  UP,
  /** {@code [hiddenSize, intermediateSize]}, w2 of Mixtral. */
  DOWN
}
