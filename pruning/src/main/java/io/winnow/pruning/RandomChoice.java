package io.winnow.pruning;

import com.google.common.hash.Hashing;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;

/** Keeps experts by lot. The seed and the layer's number decide. */
final class RandomChoice implements PruningMethod {
  @Override
  public String name() {
    return "random";
  }

  @Override
  public boolean needsCalibration() {
    return false;
  }

  @Override
  public boolean needsExpertOutputs() {
    return false;
  }

  @Override
  public Choice choose(LayerCalibration layer, int retained, long seed) {
    List<Integer> experts =
        new ArrayList<>(IntStream.range(0, layer.numExperts()).boxed().toList());
    Collections.shuffle(experts, new Random(mix(seed, layer.layerIndex())));
    ExpertGroups groups = ExpertGroups.of(layer.routing(), layer.numExperts());
    return new Choice(groups.first(experts, retained), false, List.of());
  }

  /** Neighbouring seeds of {@link Random} draw alike, so that every layer would lose the same. */
  private static long mix(long seed, int layer) {
    return Hashing.murmur3_128().newHasher().putLong(seed).putInt(layer).hash().asLong();
  }
}
