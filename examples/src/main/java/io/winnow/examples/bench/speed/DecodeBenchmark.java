package io.winnow.examples.bench.speed;

import ai.djl.Model;
import com.google.common.base.Stopwatch;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.RouterHook;
import io.winnow.core.RoutingDecision;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.core.generate.Generator;
import io.winnow.core.internal.kernel.fused.MatrixProducts;
import io.winnow.examples.bench.measure.BenchmarkResult;
import io.winnow.examples.bench.measure.Timing;
import io.winnow.skipping.SkipCounter;
import io.winnow.skipping.SkipPolicy;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Prefill and greedy decoding of random prompts: without skipping, with a policy, and with no
 * expert at all, in turn. The last tells how much of the time the experts take, hence what skipping
 * can save. Before that it generates for some seconds that do not count.
 */
final class DecodeBenchmark {
  private static final Duration WARM_UP = Duration.ofSeconds(3);

  private final Model model;
  private final SpeedFloor floor;
  private final @Nullable TransformersBaseline baseline;
  private final Generator generator;
  private final SkipPolicy policy;
  private final boolean skipping;
  private final List<long[]> prompts;
  private final int batch;
  private final int promptTokens;
  private final int tokens;
  private final int repeat;

  /** When this round's first token came; 0 before. */
  private long prefilled;

  DecodeBenchmark(
      Path folder,
      Model model,
      @Nullable SkipPolicy policy,
      @Nullable TransformersBaseline baseline,
      int batch,
      int promptTokens,
      int tokens,
      int repeat) {
    this.model = model;
    MoeModel moe = MoeModel.of(model);
    generator = Generator.of(model).withEndTokens(Set.of());
    skipping = policy != null;
    this.policy = policy == null ? SkipPolicy.none() : policy;
    this.policy.checkFits(moe);
    this.batch = batch;
    this.promptTokens = promptTokens;
    this.tokens = tokens;
    this.repeat = repeat;
    if (promptTokens + tokens > moe.maxPositions()) {
      throw new InvalidInputException(
          String.format(
              "%d prompt tokens and %d new ones are more than the model's %d positions",
              promptTokens, tokens, moe.maxPositions()));
    }
    floor = new SpeedFloor(folder, model);
    this.baseline = baseline;
    prompts = PrefillBenchmark.randomPrompts(batch, promptTokens, moe.vocabularySize());
  }

  /** Seconds of the prefill and of all decode steps. */
  private record Times(double prefill, double decode) {}

  Result run() {
    SkipCounter inPrefill = new SkipCounter();
    SkipCounter inDecode = new SkipCounter();
    RouterHook skipped =
        policy.asHook(
            (layer, routed, selected, left) ->
                (prefilled == 0 ? inPrefill : inDecode).onSkip(layer, routed, selected, left));
    RouterHook noExpert =
        (layer, logits, decision) -> {
          int[] experts = decision.experts();
          Arrays.fill(experts, RoutingDecision.NONE);
          return RoutingDecision.of(decision.topK(), experts, decision.weights());
        };
    List<Times> full = new ArrayList<>();
    List<Times> withPolicy = new ArrayList<>();
    List<Times> none = new ArrayList<>();
    // Until the JVM has compiled what a token needs.
    Stopwatch warmUp = Stopwatch.createStarted();
    do {
      once(null);
    } while (warmUp.elapsed().compareTo(WARM_UP) < 0);
    if (baseline != null) {
      var unused = baseline.generate(prompts, tokens);
    }
    once(floor);
    List<MatrixProducts.Product> step = floor.products(batch);
    Map<String, List<Double>> others = new LinkedHashMap<>();
    try (SpeedFloor.Rounds floors = floor.rounds(step)) {
      for (int i = 0; i < repeat; i++) {
        full.add(once(null));
        if (baseline != null) {
          baseline
              .generate(prompts, tokens)
              .forEach(
                  (name, times) ->
                      others.computeIfAbsent(name, key -> new ArrayList<>()).add(times.decode()));
        }
        if (skipping) {
          withPolicy.add(once(skipped));
          none.add(once(noExpert));
        }
        floors.once();
        System.err.printf(Locale.ROOT, "round %d of %d%n", i + 1, repeat);
      }
      SpeedResult speed =
          new SpeedResult(
              (long) batch * (tokens - 1),
              full.stream().map(Times::decode).toList(),
              others,
              floors.result(),
              baseline == null ? null : baseline.products(step),
              tokens - 1);
      return new Result(
          this,
          full,
          withPolicy,
          none,
          inDecode.snapshot().rate(),
          inPrefill.snapshot().rate(),
          speed);
    }
  }

  private Times once(@Nullable RouterHook hook) {
    MoeModel.of(model).routerHooks().set(hook);
    prefilled = 0;
    try {
      long start = System.nanoTime();
      var unused =
          generator.generate(
              prompts,
              GenerationConfig.greedy(tokens),
              (sequence, token, text) -> {
                if (prefilled == 0) {
                  prefilled = System.nanoTime();
                }
                return true;
              });
      long end = System.nanoTime();
      return new Times((prefilled - start) / 1e9, (end - prefilled) / 1e9);
    } finally {
      MoeModel.of(model).routerHooks().set(null);
    }
  }

  /** What was measured: seconds of each round. */
  record Result(
      DecodeBenchmark benchmark,
      List<Times> full,
      List<Times> skipped,
      List<Times> none,
      double skipRate,
      double skipRateOfPrefill,
      SpeedResult speed)
      implements BenchmarkResult {

    private static double median(List<Times> times, boolean decode) {
      return Timing.median(times.stream().map(t -> decode ? t.decode() : t.prefill()).toList());
    }

    double tokensPerSecond(List<Times> times) {
      return benchmark.batch * (benchmark.tokens - 1) / median(times, true);
    }

    /** Of the time that the skipped experts took, the share that was saved. */
    double saved(boolean decode) {
      double experts = median(full, decode) - median(none, decode);
      int topK = MoeModel.of(benchmark.model).moeLayers().get(0).routing().topK();
      double share = (decode ? skipRate : skipRateOfPrefill) * (topK - 1) / topK;
      return (median(full, decode) - median(skipped, decode)) / (share * experts);
    }

    @Override
    public String table() {
      StringBuilder table =
          new StringBuilder(
              String.format(
                  Locale.ROOT,
                  "decode: batch %d, %d prompt tokens, %d new tokens, %s%n",
                  benchmark.batch,
                  benchmark.promptTokens,
                  benchmark.tokens,
                  benchmark.model.getDataType()));
      row(table, "all experts", full);
      if (benchmark.skipping) {
        row(table, "with the policy", skipped);
        row(table, "no expert", none);
        table.append(
            String.format(
                Locale.ROOT,
                "skipped of what could be: %.1f %% in decoding, %.1f %% in prefill; saved of the time"
                    + " it took: %.0f %% and %.0f %%%n",
                100 * skipRate,
                100 * skipRateOfPrefill,
                100 * saved(true),
                100 * saved(false)));
      }
      return table.append(speed.table()).toString();
    }

    private void row(StringBuilder table, String name, List<Times> times) {
      table.append(
          String.format(
              Locale.ROOT,
              "%-16s  %9.1f tokens/s  (prefill %.3f s, %.0f tokens/s)%n",
              name,
              tokensPerSecond(times),
              median(times, false),
              benchmark.batch * benchmark.promptTokens / median(times, false)));
    }

    @Override
    public JsonObject toJson() {
      JsonObject json = new JsonObject();
      json.addProperty("batch", benchmark.batch);
      json.addProperty("prompt_tokens", benchmark.promptTokens);
      json.addProperty("tokens", benchmark.tokens);
      json.addProperty("dtype", benchmark.model.getDataType().toString());
      json.addProperty("tokens_per_second", tokensPerSecond(benchmark.skipping ? skipped : full));
      json.addProperty("tokens_per_second_all_experts", tokensPerSecond(full));
      json.add("decode", speed.toJson());
      json.add("decode_seconds", array(full, true));
      json.add("prefill_seconds", array(full, false));
      if (benchmark.skipping) {
        json.add("decode_seconds_skipping", array(skipped, true));
        json.add("prefill_seconds_skipping", array(skipped, false));
        json.add("decode_seconds_no_expert", array(none, true));
        json.add("prefill_seconds_no_expert", array(none, false));
        json.addProperty("skip_rate", skipRate);
        json.addProperty("skip_rate_prefill", skipRateOfPrefill);
        json.addProperty("saved_decode", saved(true));
        json.addProperty("saved_prefill", saved(false));
      }
      return json;
    }

    private static JsonArray array(List<Times> times, boolean decode) {
      JsonArray array = new JsonArray();
      times.forEach(t -> array.add(decode ? t.decode() : t.prefill()));
      return array;
    }
  }
}
