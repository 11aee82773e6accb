package io.winnow.core.decoder;

import io.winnow.core.checkpoint.Checkpoint;
import io.winnow.core.checkpoint.TensorInfo;

/**
 * The tensors of a checkpoint under the names of their family, each with the shape that the
 * dimensions demand.
 */
final class CheckpointLayout {
  private final Checkpoint checkpoint;
  private final Family family;
  private final DecoderConfig config;

  private CheckpointLayout(Checkpoint checkpoint, Family family, DecoderConfig config) {
    this.checkpoint = checkpoint;
    this.family = family;
    this.config = config;
  }

  /**
   * Finds every tensor that the decoder needs.
   *
   * @throws io.winnow.core.InvalidInputException if the family is not supported, a tensor is
   *     missing or has another shape
   */
  static CheckpointLayout of(Checkpoint checkpoint) {
    Family family = Families.of(checkpoint);
    CheckpointLayout layout =
        new CheckpointLayout(checkpoint, family, family.config().apply(checkpoint.config()));
    layout.embedding();
    layout.finalNorm();
    layout.head();
    for (int layer = 0; layer < layout.config.layers(); layer++) {
      layout.attention(layer);
      layout.moeNorm(layer);
      layout.router(layer);
      for (int expert = 0; expert < layout.config.experts(); expert++) {
        layout.expert(layer, expert);
      }
    }
    return layout;
  }

  Checkpoint checkpoint() {
    return checkpoint;
  }

  Family family() {
    return family;
  }

  DecoderConfig config() {
    return config;
  }

  TensorInfo embedding() {
    return checkpoint.tensor(
        family.names().embedding(), config.vocabularySize(), config.hiddenSize());
  }

  TensorInfo finalNorm() {
    return checkpoint.tensor(family.names().finalNorm(), config.hiddenSize());
  }

  TensorInfo head() {
    return config.tiedHead()
        ? embedding()
        : checkpoint.tensor(family.names().head(), config.vocabularySize(), config.hiddenSize());
  }

  /** Returns norm, query, key, value and output. */
  TensorInfo[] attention(int layer) {
    Family.TensorNames names = family.names();
    long hidden = config.hiddenSize();
    long queries = (long) config.heads() * config.headSize();
    long keys = (long) config.keyValueHeads() * config.headSize();
    return new TensorInfo[] {
      checkpoint.tensor(Family.of(names.inputNorm(), layer), hidden),
      checkpoint.tensor(Family.of(names.query(), layer), queries, hidden),
      checkpoint.tensor(Family.of(names.key(), layer), keys, hidden),
      checkpoint.tensor(Family.of(names.value(), layer), keys, hidden),
      checkpoint.tensor(Family.of(names.attentionOutput(), layer), hidden, queries)
    };
  }

  TensorInfo moeNorm(int layer) {
    return checkpoint.tensor(Family.of(family.names().moeNorm(), layer), config.hiddenSize());
  }

  TensorInfo router(int layer) {
    return checkpoint.tensor(
        Family.of(family.names().router(), layer), config.experts(), config.hiddenSize());
  }

  /** Returns gate, up and down. */
  TensorInfo[] expert(int layer, int expert) {
    Family.TensorNames names = family.names();
    long hidden = config.hiddenSize();
    long intermediate = config.intermediateSize();
    return new TensorInfo[] {
      checkpoint.tensor(Family.of(names.expertGate(), layer, expert), intermediate, hidden),
      checkpoint.tensor(Family.of(names.expertUp(), layer, expert), intermediate, hidden),
      checkpoint.tensor(Family.of(names.expertDown(), layer, expert), hidden, intermediate)
    };
  }
}
