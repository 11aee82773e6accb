package io.winnow.core.decoder;

import io.winnow.core.checkpoint.Checkpoint;
import io.winnow.core.checkpoint.TensorInfo;
import org.jspecify.annotations.Nullable;

/**
 * The tensors of a checkpoint under the names of their family, each with the shape that the
 * dimensions demand.
 */
final class CheckpointLayout {
  /** The field of config.json that says how many rows the gate of a merged checkpoint has. */
  private static final String ROUTER_EXPERTS = "winnow.router_experts";

  private final Checkpoint checkpoint;
  private final Family family;
  private final DecoderConfig config;
  private final @Nullable Integer mappedExperts;

  private CheckpointLayout(
      Checkpoint checkpoint, Family family, DecoderConfig config, @Nullable Integer mappedExperts) {
    this.checkpoint = checkpoint;
    this.family = family;
    this.config = config;
    this.mappedExperts = mappedExperts;
  }

  /**
   * Finds every tensor that the decoder needs.
   *
   * @throws io.winnow.core.InvalidInputException if the family is not supported, a tensor is
   *     missing or has another shape
   */
  static CheckpointLayout of(Checkpoint checkpoint) {
    Family family = Families.of(checkpoint);
    boolean merged = checkpoint.config().modelType().startsWith(Families.MERGED);
    CheckpointLayout layout =
        new CheckpointLayout(
            checkpoint,
            family,
            family.config().apply(checkpoint.config()),
            merged ? checkpoint.config().requirePositiveInt(ROUTER_EXPERTS) : null);
    layout.embedding();
    layout.finalNorm();
    layout.head();
    for (int layer = 0; layer < layout.config.layers(); layer++) {
      layout.attention(layer);
      layout.moeNorm(layer);
      layout.router(layer);
      layout.routerMapping(layer);
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
        Family.of(family.names().router(), layer), routerExperts(), config.hiddenSize());
  }

  /** Returns n, the rows of the gate, of which a router mapping makes the experts' scores. */
  int routerExperts() {
    return mappedExperts == null ? config.experts() : mappedExperts;
  }

  /** Returns whether the checkpoint holds merged experts, and router mappings for them. */
  boolean isMerged() {
    return mappedExperts != null;
  }

  /** Returns the router mapping {@code [r, n]} of a merged checkpoint; null for others. */
  @Nullable TensorInfo routerMapping(int layer) {
    return mappedExperts == null
        ? null
        : checkpoint.tensor(family.routerMapping(layer), config.experts(), mappedExperts);
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
