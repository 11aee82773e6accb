package io.winnow.core.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** What is drawn, against a plain re-implementation on lists of probabilities. */
class TokenSamplerTest {
  private static final BitSet NOTHING_SEEN = new BitSet();

  private static GenerationConfig.Builder drawing() {
    return GenerationConfig.builder(1).optTemperature(1);
  }

  private static float[] randomLogits(long seed, int count) {
    Random random = new Random(seed);
    float[] logits = new float[count];
    for (int i = 0; i < count; i++) {
      // Coarse, so that some are equal.
      logits[i] = Math.round(random.nextGaussian() * 8) / 4f;
    }
    return logits;
  }

  private static double[] softmax(double[] scores) {
    double max = Arrays.stream(scores).max().orElseThrow();
    double sum = Arrays.stream(scores).map(score -> Math.exp(score - max)).sum();
    return Arrays.stream(scores).map(score -> Math.exp(score - max) / sum).toArray();
  }

  /** The processors of Transformers one after the other, each setting scores to -infinity. */
  private static double[] expected(float[] logits, BitSet seen, GenerationConfig config) {
    int n = logits.length;
    double[] scores = new double[n];
    for (int i = 0; i < n; i++) {
      scores[i] = logits[i];
      if (seen.get(i)) {
        scores[i] =
            (float)
                (logits[i] < 0
                    ? logits[i] * config.repetitionPenalty()
                    : logits[i] / config.repetitionPenalty());
      }
      scores[i] /= config.temperature();
    }
    List<Integer> order = new ArrayList<>(IntStream.range(0, n).boxed().toList());
    order.sort(Comparator.<Integer>comparingDouble(i -> -scores[i]).thenComparingInt(i -> i));
    if (config.topK() > 0) {
      for (int rank = config.topK(); rank < n; rank++) {
        scores[order.get(rank)] = Double.NEGATIVE_INFINITY;
      }
    }
    if (config.topP() < 1) {
      double[] probabilities = softmax(scores);
      double above = 0;
      for (int id : order) {
        if (above >= config.topP()) {
          scores[id] = Double.NEGATIVE_INFINITY;
        }
        above += probabilities[id];
      }
    }
    double[] probabilities = softmax(scores);
    double least = config.minP() * Arrays.stream(probabilities).max().orElseThrow();
    for (int i = 0; i < n; i++) {
      if (probabilities[i] < least) {
        scores[i] = Double.NEGATIVE_INFINITY;
      }
    }
    return softmax(scores);
  }

  /** The probabilities that the sampler draws with, exactly. */
  private static double[] actual(float[] logits, GenerationConfig config) {
    TokenSampler.Candidates candidates = new TokenSampler(config).candidates(logits);
    double sum = Arrays.stream(candidates.weights()).sum();
    double[] probabilities = new double[logits.length];
    for (int i = 0; i < candidates.ids().length; i++) {
      probabilities[candidates.ids()[i]] = candidates.weights()[i] / sum;
    }
    return probabilities;
  }

  private static void assertDrawsLike(
      double[] probabilities, float[] logits, BitSet seen, GenerationConfig config) {
    int draws = 40_000;
    long[] counts = new long[probabilities.length];
    TokenSampler sampler = new TokenSampler(config);
    SplittableRandom random = new SplittableRandom(7);
    for (int i = 0; i < draws; i++) {
      counts[sampler.choose(logits.clone(), seen, random)]++;
    }
    double chiSquare = 0;
    int degrees = -1;
    double restExpected = 0;
    double restCount = 0;
    for (int i = 0; i < counts.length; i++) {
      double expected = probabilities[i] * draws;
      if (expected == 0) {
        assertThat(counts[i]).as("draws of token %d, which cannot come", i).isZero();
      } else if (expected < 5) {
        restExpected += expected;
        restCount += counts[i];
      } else {
        chiSquare += Math.pow(counts[i] - expected, 2) / expected;
        degrees++;
      }
    }
    if (restExpected >= 5) {
      chiSquare += Math.pow(restCount - restExpected, 2) / restExpected;
      degrees++;
    }
    // Mean and four standard deviations of the distribution.
    assertThat(chiSquare)
        .as("chi-square with %d degrees of freedom", degrees)
        .isLessThanOrEqualTo(degrees + 4 * Math.sqrt(2.0 * degrees) + 1e-9);
  }

  private static void assertLikeThePlainOne(GenerationConfig config) {
    for (int seed = 0; seed < 20; seed++) {
      float[] logits = randomLogits(seed, 60);
      double[] expected = expected(logits, NOTHING_SEEN, config);
      double[] actual = actual(logits, config);
      for (int i = 0; i < expected.length; i++) {
        assertThat(actual[i]).as("seed %d, token %d", seed, i).isCloseTo(expected[i], within(1e-9));
      }
    }
    float[] logits = randomLogits(99, 60);
    assertDrawsLike(expected(logits, NOTHING_SEEN, config), logits, NOTHING_SEEN, config);
  }

  @Test
  void drawsWithTheSoftmaxOfTheLogits() {
    assertLikeThePlainOne(drawing().build());
  }

  @Test
  void temperatureSharpensAndFlattens() {
    assertLikeThePlainOne(drawing().optTemperature(0.4).build());
    assertLikeThePlainOne(drawing().optTemperature(2.5).build());
  }

  @Test
  void topKLeavesTheLikeliest() {
    assertLikeThePlainOne(drawing().optTopK(5).build());
    assertLikeThePlainOne(drawing().optTopK(1000).build());
  }

  @Test
  void topPLeavesTheFewestThatReachTheSum() {
    assertLikeThePlainOne(drawing().optTopP(0.7).build());
    assertLikeThePlainOne(drawing().optTopP(1e-9).build());
  }

  @Test
  void minPLeavesOutWhatIsUnlikelyBesideTheBest() {
    assertLikeThePlainOne(drawing().optMinP(0.15).build());
    assertLikeThePlainOne(drawing().optMinP(1).build());
  }

  @Test
  void allRulesTogetherApplyInTheOrderOfTransformers() {
    assertLikeThePlainOne(
        drawing().optTemperature(1.7).optTopK(20).optTopP(0.8).optMinP(0.1).build());
  }

  @Test
  void theRepetitionPenaltyDividesPositiveLogitsAndMultipliesNegativeOnes() {
    GenerationConfig config = drawing().optRepetitionPenalty(1.8).optTopK(30).build();
    BitSet seen = new BitSet();
    IntStream.of(0, 3, 17, 40, 59).forEach(seen::set);
    float[] logits = randomLogits(3, 60);
    assertDrawsLike(expected(logits, seen, config), logits, seen, config);

    TokenSampler greedy =
        new TokenSampler(GenerationConfig.builder(1).optRepetitionPenalty(2).build());
    BitSet first = new BitSet();
    first.set(0);
    assertThat(greedy.choose(new float[] {3, 2, 1}, first, new SplittableRandom(0))).isEqualTo(1);
    assertThat(greedy.choose(new float[] {-1, -1.5f, -3}, first, new SplittableRandom(0)))
        .isEqualTo(1);
    assertThat(greedy.choose(new float[] {3, 1, 1}, first, new SplittableRandom(0))).isEqualTo(0);
  }

  @Test
  void ofEqualLogitsTheLowerIdComesFirst() {
    float[] logits = {1, 2, -0f, 2, 0f, 2};
    assertThat(
            new TokenSampler(GenerationConfig.greedy(1))
                .choose(logits.clone(), NOTHING_SEEN, new SplittableRandom(0)))
        .isEqualTo(1);
    assertThat(new TokenSampler(drawing().optTopK(2).build()).candidates(logits).ids())
        .containsExactly(1, 3);
    assertThat(new TokenSampler(drawing().optTopK(6).build()).candidates(logits).ids())
        .containsExactly(1, 3, 5, 0, 2, 4);
  }

  @Test
  void tokensOfProbabilityZeroNeverCome() {
    float[] logits = {Float.NEGATIVE_INFINITY, 0, Float.NEGATIVE_INFINITY, 0};
    assertDrawsLike(new double[] {0, 0.5, 0, 0.5}, logits, NOTHING_SEEN, drawing().build());
  }

  @Test
  void logitsThatAreNotNumbersAreAnError() {
    assertThatThrownBy(
            () ->
                new TokenSampler(drawing().build())
                    .choose(new float[] {0, Float.NaN}, NOTHING_SEEN, new SplittableRandom(0)))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("not finite");
  }
}
