package io.winnow.core.generate;

import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import com.google.common.collect.ImmutableSet;
import com.google.common.primitives.ImmutableLongArray;
import io.winnow.core.InvalidInputException;
import io.winnow.core.decoder.MoeDecoder;
import io.winnow.core.kernel.KeyValueCache;
import java.util.Set;
import java.util.concurrent.CancellationException;

/**
 * Continues token sequences greedily, with a key/value cache. Of two equal logits the lower token
 * id wins.
 *
 * <p>Immutable and thread-safe. The model must stay open.
 */
public final class Generator {
  private final Model model;
  private final MoeDecoder decoder;
  private final ImmutableSet<Long> endTokens;

  private Generator(Model model, MoeDecoder decoder, Set<Long> endTokens) {
    this.model = model;
    this.decoder = decoder;
    this.endTokens = ImmutableSet.copyOf(endTokens);
  }

  /**
   * Creates a generator that stops at the end tokens of the checkpoint's configuration.
   *
   * @param model a model loaded by {@code MoeModels}
   */
  public static Generator of(Model model) {
    if (!(model.getBlock() instanceof MoeDecoder decoder)) {
      throw new InvalidInputException(
          "Model '" + model.getName() + "' was not loaded by MoeModels and cannot generate");
    }
    return new Generator(model, decoder, decoder.endTokens());
  }

  /** Returns a generator that stops at these tokens only; at none if there are none. */
  public Generator withEndTokens(Set<Long> newEndTokens) {
    return new Generator(model, decoder, newEndTokens);
  }

  /**
   * Continues a prompt.
   *
   * @param prompt token ids, at least one
   * @param maxTokens the greatest number of new tokens; fewer come where the model's positions end
   * @return the new tokens, an end token included
   * @throws InvalidInputException if the prompt is empty, too long, or of another vocabulary
   */
  public long[] generate(long[] prompt, int maxTokens) {
    if (prompt.length == 0) {
      throw new InvalidInputException("The prompt has no tokens; give it at least one");
    }
    if (prompt.length > decoder.maxPositions()) {
      throw new InvalidInputException(
          String.format(
              "The prompt has %d tokens, more than the model's %d positions; shorten it",
              prompt.length, decoder.maxPositions()));
    }
    if (maxTokens < 1) {
      throw new InvalidInputException(
          "The number of new tokens must be at least 1, is " + maxTokens);
    }
    ImmutableLongArray.Builder generated = ImmutableLongArray.builder();
    int most = Math.min(maxTokens, decoder.maxPositions() - prompt.length);
    long[] input = prompt;
    try (KeyValueCache cache = decoder.newCache(0)) {
      for (int i = 0; i < most; i++) {
        if (Thread.currentThread().isInterrupted()) {
          throw new CancellationException("The generation was interrupted");
        }
        long next = next(input, cache);
        generated.add(next);
        if (endTokens.contains(next)) {
          break;
        }
        input = new long[] {next};
      }
    }
    return generated.build().toArray();
  }

  private long next(long[] input, KeyValueCache cache) {
    try (NDManager manager = model.getNDManager().newSubManager()) {
      NDArray ids = manager.create(input, new Shape(1, input.length));
      float[] logits = decoder.next(ids, cache).toFloatArray();
      int best = 0;
      for (int i = 1; i < logits.length; i++) {
        if (logits[i] > logits[best]) {
          best = i;
        }
      }
      return best;
    }
  }
}
