package io.winnow.core.internal.layout;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.family.Families;
import io.winnow.core.internal.form.DecoderConfig;
import java.util.List;
import java.util.NavigableMap;
import java.util.Optional;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * How many experts each layer of a checkpoint has: the same in all, unless Winnow wrote it and says
 * otherwise.
 */
final class ExpertCounts {
  /** The field of config.json that says how many rows the gate of a merged checkpoint has. */
  private static final String ROUTER_EXPERTS = "winnow.router_experts";

  /** The field of config.json that counts the experts of each layer that has some. */
  private static final String EXPERTS_PER_LAYER = "winnow.experts_per_layer";

  private final int common;

  /** By layer, where layers differ; else empty. */
  private final NavigableMap<Integer, Integer> byLayer = new TreeMap<>();

  private final @Nullable Integer mapped;
  private final int layers;

  private ExpertCounts(int common, @Nullable Integer mapped, int layers) {
    this.common = common;
    this.mapped = mapped;
    this.layers = layers;
  }

  /** Reads what {@code config.json} says. */
  static ExpertCounts read(Checkpoint checkpoint, DecoderConfig config) {
    if (!checkpoint.config().modelType().startsWith(Families.OURS)) {
      return new ExpertCounts(config.experts(), null, config.layers());
    }
    Optional<List<Integer>> counts = checkpoint.config().ints(EXPERTS_PER_LAYER);
    if (counts.isEmpty()) {
      return new ExpertCounts(
          config.experts(),
          checkpoint.config().requirePositiveInt(ROUTER_EXPERTS),
          config.layers());
    }
    ExpertCounts uneven = new ExpertCounts(config.experts(), null, config.layers());
    uneven.put(checkpoint, config.sparseLayers(), counts.get());
    return uneven;
  }

  private void put(Checkpoint checkpoint, List<Integer> sparse, List<Integer> counts) {
    if (counts.size() != sparse.size()) {
      throw new InvalidInputException(
          String.format(
              "'%s' in config.json of %s has %d numbers, for %d layers with experts; the file is"
                  + " damaged, write the checkpoint again",
              EXPERTS_PER_LAYER, checkpoint.folder(), counts.size(), sparse.size()));
    }
    for (int i = 0; i < sparse.size(); i++) {
      int count = counts.get(i);
      if (count < 1 || count > common) {
        throw new InvalidInputException(
            String.format(
                "'%s' in config.json of %s says %d for layer %d; layers have 1 to %d experts",
                EXPERTS_PER_LAYER, checkpoint.folder(), count, sparse.get(i), common));
      }
      byLayer.put(sparse.get(i), count);
    }
  }

  /** Returns n, the experts of a layer as stored; behind the decoder, those of its last layer. */
  int of(int layer) {
    if (layer >= layers && !byLayer.isEmpty()) {
      return byLayer.lastEntry().getValue();
    }
    return byLayer.getOrDefault(layer, common);
  }

  /** Returns n, the rows of a layer's gate, of which a router mapping makes the experts' scores. */
  int gateRows(int layer) {
    return mapped == null ? of(layer) : mapped;
  }

  /** Returns whether gates have rows of their own number, which router mappings lead to experts. */
  boolean isMapped() {
    return mapped != null;
  }

  /** Returns whether layers may have different numbers. */
  boolean isUneven() {
    return !byLayer.isEmpty();
  }
}
