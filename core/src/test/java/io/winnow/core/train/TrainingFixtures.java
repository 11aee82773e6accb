package io.winnow.core.train;

import ai.djl.Model;
import ai.djl.nn.Parameter;
import io.winnow.core.TokenSequences;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/** Texts that can be learnt, and what a training of a few steps left. */
final class TrainingFixtures {
  private TrainingFixtures() {}

  /** Sequences that count up: what follows can be learnt, also for other beginnings. */
  static TokenSequences counting(int count, long seed) {
    Random random = new Random(seed);
    long[][] ids = new long[count][];
    for (int i = 0; i < count; i++) {
      int first = random.nextInt(50);
      ids[i] = IntStream.range(0, 10).mapToLong(j -> (first + j) % 50).toArray();
    }
    return TokenSequences.of(ids);
  }

  static FineTuning.Builder brief() {
    return FineTuning.builder()
        .optSteps(6)
        .optBatchSize(4)
        .optLearningRate(0.01)
        .optValidationInterval(2);
  }

  static Map<String, float[]> weights(Model model) {
    Map<String, float[]> weights = new TreeMap<>();
    for (Parameter parameter : model.getBlock().getParameters().values()) {
      weights.put(parameter.getName(), parameter.getArray().toFloatArray());
    }
    return weights;
  }

  static List<String> files(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    }
  }
}
