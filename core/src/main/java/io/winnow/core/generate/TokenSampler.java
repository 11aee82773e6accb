package io.winnow.core.generate;

import java.util.Arrays;
import java.util.BitSet;
import java.util.random.RandomGenerator;

/** Chooses a token by its logits, as a {@link GenerationConfig} says. Immutable, thread-safe. */
final class TokenSampler {
  private final GenerationConfig config;

  TokenSampler(GenerationConfig config) {
    this.config = config;
  }

  /**
   * Chooses a token.
   *
   * @param logits {@code [vocabulary]}; they are changed
   * @param seen the tokens that the repetition penalty holds for
   * @param random draws once, unless the choice is greedy
   */
  int choose(float[] logits, BitSet seen, RandomGenerator random) {
    penalize(logits, seen);
    if (config.temperature() == 0) {
      return best(logits);
    }
    return draw(candidates(logits), random);
  }

  private void penalize(float[] logits, BitSet seen) {
    double penalty = config.repetitionPenalty();
    if (penalty == 1) {
      return;
    }
    for (int id = seen.nextSetBit(0); id >= 0; id = seen.nextSetBit(id + 1)) {
      logits[id] = (float) (logits[id] < 0 ? logits[id] * penalty : logits[id] / penalty);
    }
  }

  private static int best(float[] logits) {
    int best = 0;
    for (int i = 1; i < logits.length; i++) {
      if (logits[i] > logits[best]) {
        best = i;
      }
    }
    return best;
  }

  /**
   * The tokens to draw from, and their probabilities before they are made to add up to 1.
   *
   * @param ids token ids, the likeliest first if tokens were ranked
   * @param weights their probabilities relative to the likeliest token's
   */
  record Candidates(int[] ids, double[] weights) {
    Candidates first(int count) {
      return count == ids.length
          ? this
          : new Candidates(Arrays.copyOf(ids, count), Arrays.copyOf(weights, count));
    }
  }

  /** Applies temperature, top-k, top-p and min-p to the logits. */
  Candidates candidates(float[] logits) {
    boolean ranked = config.topK() > 0 || config.topP() < 1 || config.minP() > 0;
    int[] ids = ranked ? ranked(logits) : ids(logits.length);
    double best = logits[best(logits)];
    double[] weights = new double[ids.length];
    for (int i = 0; i < ids.length; i++) {
      weights[i] = Math.exp((logits[ids[i]] - best) / config.temperature());
    }
    Candidates candidates = new Candidates(ids, weights);
    if (config.topK() > 0) {
      candidates = candidates.first(Math.min(config.topK(), ids.length));
    }
    if (config.topP() < 1) {
      candidates = candidates.first(nucleus(candidates.weights()));
    }
    if (config.minP() > 0) {
      candidates = candidates.first(likelyEnough(candidates.weights()));
    }
    return candidates;
  }

  /** A token stays if those before it do not reach top-p. */
  private int nucleus(double[] weights) {
    double wanted = config.topP() * Arrays.stream(weights).sum();
    double sum = 0;
    int count = 0;
    while (count < weights.length && (count == 0 || sum < wanted)) {
      sum += weights[count++];
    }
    return count;
  }

  private int likelyEnough(double[] weights) {
    int count = 1;
    while (count < weights.length && weights[count] >= config.minP() * weights[0]) {
      count++;
    }
    return count;
  }

  private static int[] ids(int count) {
    int[] ids = new int[count];
    Arrays.setAll(ids, i -> i);
    return ids;
  }

  /** Ranks by falling logit, then by rising id, sorting numbers that hold both. */
  private static int[] ranked(float[] logits) {
    long[] keys = new long[logits.length];
    for (int id = 0; id < keys.length; id++) {
      // Adding 0 makes one zero of the two.
      int bits = Float.floatToIntBits(logits[id] + 0f);
      int ascending = bits < 0 ? bits ^ Integer.MAX_VALUE : bits;
      keys[id] = (long) ~ascending << Integer.SIZE | id;
    }
    Arrays.sort(keys);
    int[] ids = new int[keys.length];
    Arrays.setAll(ids, i -> (int) keys[i]);
    return ids;
  }

  private static int draw(Candidates candidates, RandomGenerator random) {
    double[] weights = candidates.weights();
    double sum = Arrays.stream(weights).sum();
    if (!(sum > 0 && Double.isFinite(sum))) {
      throw new IllegalStateException(
          "The model's logits are not finite, so that no token can be drawn; in float16 a model may"
              + " leave the range of numbers, where bfloat16 or float32 does not");
    }
    double rest = random.nextDouble() * sum;
    int last = 0;
    for (int i = 0; i < weights.length; i++) {
      if (weights[i] > 0) {
        last = i;
        rest -= weights[i];
        if (rest < 0) {
          break;
        }
      }
    }
    return candidates.ids()[last];
  }
}
