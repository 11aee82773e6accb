package io.winnow.examples.bench.speed;

import ai.djl.Model;
import com.google.common.base.Stopwatch;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.core.generate.Generator;
import io.winnow.core.internal.kernel.fused.MatrixProducts;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.bench.measure.Timing;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * The time until prompts of random tokens have their first new token: all keys and values are in
 * the cache then, and the last token of each prompt has logits.
 */
final class PrefillBenchmark {
  private static final Duration WARM_UP = Duration.ofSeconds(3);

  private final Model model;
  private final Generator generator;
  private final SpeedFloor floor;
  private final @Nullable TransformersBaseline baseline;
  private final List<long[]> prompts;
  private final int promptTokens;
  private final int repeat;

  PrefillBenchmark(
      Path folder,
      Model model,
      @Nullable TransformersBaseline baseline,
      int batch,
      int promptTokens,
      int repeat) {
    this.model = model;
    this.baseline = baseline;
    this.promptTokens = promptTokens;
    this.repeat = repeat;
    MoeModel moe = MoeModel.of(model);
    if (promptTokens >= moe.maxPositions()) {
      throw new InvalidInputException(
          String.format(
              "--prompt-tokens is %d; the model has %d positions, and needs one for a new token",
              promptTokens, moe.maxPositions()));
    }
    generator = Generator.of(model).withEndTokens(Set.of());
    floor = new SpeedFloor(folder, model);
    prompts = randomPrompts(batch, promptTokens, moe.vocabularySize());
  }

  static List<long[]> randomPrompts(int count, int tokens, int vocabulary) {
    Random random = new Random(5);
    return IntStream.range(0, count)
        .mapToObj(i -> random.longs(tokens, 0, vocabulary).toArray())
        .toList();
  }

  Result run() {
    Stopwatch warmUp = Stopwatch.createStarted();
    do {
      once();
    } while (warmUp.elapsed().compareTo(WARM_UP) < 0);
    if (baseline != null) {
      var unused = baseline.generate(prompts, 1);
    }
    MoeModel.of(model).routerHooks().set(floor);
    try {
      once();
    } finally {
      MoeModel.of(model).routerHooks().set(null);
    }
    List<MatrixProducts.Product> products = floor.products(prompts.size());
    List<Double> ours = new ArrayList<>();
    Map<String, List<Double>> others = new LinkedHashMap<>();
    try (SpeedFloor.Rounds floors = floor.rounds(products)) {
      for (int i = 0; i < repeat; i++) {
        ours.add(once());
        if (baseline != null) {
          baseline
              .generate(prompts, 1)
              .forEach(
                  (name, times) ->
                      others.computeIfAbsent(name, key -> new ArrayList<>()).add(times.prefill()));
        }
        floors.once();
        System.err.printf(Locale.ROOT, "round %d of %d%n", i + 1, repeat);
      }
      return new Result(
          prompts.size(),
          promptTokens,
          model.getDataType().toString(),
          new SpeedResult(
              (long) prompts.size() * promptTokens,
              ours,
              others,
              floors.result(),
              baseline == null ? null : baseline.products(products),
              1));
    }
  }

  private double once() {
    Stopwatch time = Stopwatch.createStarted();
    var unused = generator.generate(prompts, GenerationConfig.greedy(1));
    return Timing.seconds(time);
  }

  /** What was measured. */
  record Result(int batch, int promptTokens, String type, SpeedResult speed)
      implements BenchmarkResult {
    @Override
    public String table() {
      return String.format(
              Locale.ROOT, "prefill: %d sequences of %d tokens, %s%n", batch, promptTokens, type)
          + speed.table();
    }

    @Override
    public JsonObject toJson() {
      JsonObject json = speed.toJson();
      json.addProperty("batch", batch);
      json.addProperty("prompt_tokens", promptTokens);
      json.addProperty("dtype", type);
      return json;
    }
  }
}
