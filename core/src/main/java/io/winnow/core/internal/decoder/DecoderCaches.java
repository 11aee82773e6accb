package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDList;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.InvalidInputException;
import io.winnow.core.TokenCache;
import io.winnow.core.internal.kernel.KeyValueCache;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** Makes the caches of one decoder, and checks those that a caller hands back. */
final class DecoderCaches {
  private final DecoderRuntime runtime;
  private final int numLayers;

  DecoderCaches(DecoderRuntime runtime, int numLayers) {
    this.runtime = runtime;
    this.numLayers = numLayers;
  }

  KeyValueCache create(long... padding) {
    if (padding.length == 0 || hasNegative(padding)) {
      throw new InvalidInputException(
          "A cache needs the padding of every sequence, at least 0, but got "
              + Arrays.toString(padding));
    }
    return new KeyValueCache(runtime.manager(), numLayers, padding);
  }

  /** Returns a caller's cache as what it is, which is made by this decoder. */
  KeyValueCache own(TokenCache cache) {
    if (cache instanceof KeyValueCache own && own.isInside(runtime.manager())) {
      return own;
    }
    throw new InvalidInputException(
        "The cache was not made by this model; use one that its newCache or expand returned");
  }

  /**
   * Creates a cache whose sequences continue those of another.
   *
   * @param padding of the tokens to come, behind a cache without padding; null to keep what is
   */
  KeyValueCache expand(TokenCache cache, int[] sources, int tokens, long @Nullable [] padding) {
    KeyValueCache own = own(cache);
    checkSources(own, sources);
    if (padding != null
        && (padding.length != sources.length
            || hasNegative(padding)
            || Arrays.stream(own.padding()).anyMatch(count -> count > 0))) {
      throw new InvalidInputException(
          String.format(
              "The padding %s does not fit %d sequences that continue a cache with the padding %s;"
                  + " it must be at least 0 each, behind a cache without padding",
              Arrays.toString(padding), sources.length, Arrays.toString(own.padding())));
    }
    return own.expand(runtime.inferenceKernel(), runtime.manager(), sources, padding, tokens);
  }

  private static boolean hasNegative(long[] padding) {
    return Arrays.stream(padding).anyMatch(count -> count < 0);
  }

  private static void checkSources(KeyValueCache cache, int[] sources) {
    int sequences = cache.padding().length;
    if (sources.length == 0
        || Arrays.stream(sources).anyMatch(source -> source < 0 || source >= sequences)) {
      throw new InvalidInputException(
          String.format(
              "The sequences %s cannot continue those of a cache of %d; use numbers from 0 to %d",
              Arrays.toString(sources), sequences, sequences - 1));
    }
  }

  /** Creates a cache that holds the keys and values of a caller; none at the beginning. */
  KeyValueCache filled(NDList past, long... padding) {
    KeyValueCache cache = create(padding);
    try {
      if (!past.isEmpty()) {
        checkPast(past, padding.length);
        runtime.fusedKernel().fill(cache, past);
      }
      return cache;
    } catch (RuntimeException | Error e) {
      cache.close();
      throw e;
    }
  }

  private void checkPast(NDList past, int sequences) {
    long length = past.head().getShape().dimension() == 4 ? past.head().getShape().get(2) : -1;
    List<Shape> shapes =
        IntStream.range(0, numLayers)
            .boxed()
            .flatMap(layer -> runtime.config().mixer(layer).state().tensors().stream())
            .map(part -> new Shape(sequences, part.heads(), length, part.size()))
            .toList();
    boolean fits = past.size() == shapes.size() && length > 0;
    for (int i = 0; fits && i < past.size(); i++) {
      fits =
          past.get(i).getDataType() == DataType.FLOAT32
              && past.get(i).getShape().equals(shapes.get(i));
    }
    if (!fits) {
      throw new InvalidInputException(
          String.format(
              "Past keys and values must be %d float32 arrays [%d, %d, length, %d and %d], but are"
                  + " %d, the first of them %s %s; pass on those of the last result",
              shapes.size(),
              sequences,
              shapes.get(0).get(1),
              shapes.get(0).get(3),
              shapes.get(1).get(3),
              past.size(),
              past.head().getDataType(),
              past.head().getShape()));
    }
  }
}
