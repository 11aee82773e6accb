package io.winnow.skipping;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.inference.Predictor;
import ai.djl.metric.Metrics;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.types.Shape;
import ai.djl.translate.Batchifier;
import ai.djl.translate.TranslateException;
import ai.djl.translate.Translator;
import ai.djl.translate.TranslatorContext;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.ResidentMemory;
import io.winnow.core.RouterHook;
import io.winnow.core.RoutingDecision;
import io.winnow.core.model.MoeModels;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class SkippingPredictorTest {
  private static Model model;

  @BeforeAll
  static void load() {
    model = MoeModels.load(Fixtures.TINY_MIXTRAL, Device.cpu());
  }

  @AfterAll
  static void close() {
    model.close();
  }

  /** Token ids in, the last token's logits out. */
  private static final class LastLogits implements Translator<long[], float[]> {
    @Override
    public NDList processInput(TranslatorContext context, long[] ids) {
      return new NDList(context.getNDManager().create(ids, new Shape(1, ids.length)));
    }

    @Override
    public float[] processOutput(TranslatorContext context, NDList list) {
      NDArray last = list.singletonOrThrow().get("0, -1");
      return last.toFloatArray();
    }

    @Override
    public Batchifier getBatchifier() {
      return null;
    }
  }

  private static SkipPolicy halves(double beta) {
    return BetaSkipPolicy.of(
        BetaSkipPolicy.Rule.RATIO, List.of(0, 1, 2, 3), List.of(beta, beta, beta, beta));
  }

  private static long[] prompt(int seed) {
    return Arrays.copyOf(Fixtures.naeeTokens("valid.code").sequence(seed), 8 + seed % 5);
  }

  @Test
  void thePolicyHoldsForThisPredictorOnly() throws Exception {
    float[] skipped;
    float[] plain;
    SkipCounter counter = new SkipCounter();
    try (Predictor<long[], float[]> host = model.newPredictor(new LastLogits());
        SkippingPredictor<long[], float[]> one =
            SkippingPredictor.wrap(model, new LastLogits(), SkipPolicy.topK(1));
        SkippingPredictor<long[], float[]> none =
            SkippingPredictor.wrap(
                model.newPredictor(new LastLogits()), model, SkipPolicy.none(), counter)) {
      plain = host.predict(prompt(1));
      skipped = one.predict(prompt(1));
      assertThat(skipped).isNotEqualTo(plain);
      assertThat(none.predict(prompt(1))).isEqualTo(plain);
      assertThat(host.predict(prompt(1))).isEqualTo(plain);
      assertThat(one.batchPredict(List.of(prompt(1), prompt(2))).get(0)).isEqualTo(skipped);
      Metrics metrics = new Metrics();
      one.setMetrics(metrics);
      assertThat(one.predict(prompt(1))).isEqualTo(skipped);
      assertThat(metrics.hasMetric("Inference")).isTrue();
      assertThat(one.supportsStreaming()).isFalse();
      assertThatThrownBy(() -> one.streamingPredict(prompt(1)))
          .isInstanceOf(IllegalStateException.class);
    }
    SkipStatistics statistics = counter.snapshot();
    assertThat(statistics.layers()).hasSize(4);
    assertThat(statistics.layers().get(0))
        .isEqualTo(new SkipStatistics.Layer(0, prompt(1).length, 2L * prompt(1).length, 0));
    assertThat(statistics.rate()).isZero();
    // The model's own hook serves every predictor without one.
    MoeModel.of(model).routerHooks().set(SkipPolicy.topK(1).asHook());
    try (Predictor<long[], float[]> host = model.newPredictor(new LastLogits());
        SkippingPredictor<long[], float[]> none =
            SkippingPredictor.wrap(model, new LastLogits(), SkipPolicy.none())) {
      assertThat(host.predict(prompt(1))).isEqualTo(skipped);
      assertThat(none.predict(prompt(1))).isEqualTo(plain);
    } finally {
      MoeModel.of(model).routerHooks().set(null);
    }
  }

  @Test
  void evaluatedExpertsFallByExactlyTheSkippedOnes() throws Exception {
    long[] ids = Fixtures.naeeTokens("valid.code").sequence(3);
    for (SkipPolicy policy : List.of(SkipPolicy.none(), halves(0.6), SkipPolicy.topK(1))) {
      SkipCounter counter = new SkipCounter();
      AtomicLong evaluated = new AtomicLong();
      RouterHook skip = policy.asHook(counter);
      RouterHook counting =
          (layer, logits, decision) -> {
            RoutingDecision remaining = skip.onRouting(layer, logits, decision);
            evaluated.addAndGet(Arrays.stream(remaining.counts(layer.numExperts())).sum());
            return remaining;
          };
      try (Predictor<long[], float[]> host = model.newPredictor(new LastLogits())) {
        MoeModel.of(model).routerHooks().call(counting, () -> host.predict(ids));
      }
      long skipped =
          counter.snapshot().layers().stream().mapToLong(SkipStatistics.Layer::skipped).sum();
      assertThat(evaluated.get()).isEqualTo(4L * 2 * ids.length - skipped);
      assertThat(counter.snapshot().rate()).isEqualTo(skipped / (4.0 * ids.length));
    }
  }

  @Test
  void aClosedPredictorLeavesNothingWithTheModel() throws Exception {
    try (SkippingPredictor<long[], float[]> warm =
        SkippingPredictor.wrap(model, new LastLogits(), halves(0.6))) {
      warm.predict(prompt(1));
    }
    int before = model.getNDManager().getManagedArrays().size();
    for (int i = 0; i < 20; i++) {
      try (SkippingPredictor<long[], float[]> predictor =
          SkippingPredictor.wrap(model, new LastLogits(), halves(0.1 * (i % 10)))) {
        predictor.predict(prompt(i));
        predictor.predict(prompt(i + 1));
      }
    }
    assertThat(model.getNDManager().getManagedArrays()).hasSize(before);
  }

  @Test
  void aPolicyThatDoesNotFitIsRefused() {
    BetaSkipPolicy other = BetaSkipPolicy.of(BetaSkipPolicy.Rule.RATIO, List.of(0), List.of(0.5));
    assertThatThrownBy(() -> SkippingPredictor.wrap(model, new LastLogits(), other))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("calibrate it on this model");
  }

  @Test
  void errorsOfThePredictorComeThrough() {
    try (SkippingPredictor<long[], float[]> predictor =
        SkippingPredictor.wrap(model, new LastLogits(), SkipPolicy.none())) {
      assertThatThrownBy(() -> predictor.predict(new long[] {5000}))
          .isInstanceOf(TranslateException.class)
          .hasMessageContaining("5000");
    }
  }

  @Test
  void eightThreadsWithFourPoliciesGetTheirOwnResultsAndMemoryStaysFlat() throws Exception {
    List<SkipPolicy> policies =
        List.of(SkipPolicy.none(), halves(0.4), halves(0.8), SkipPolicy.topK(1));
    List<List<float[]>> expected = new ArrayList<>();
    for (SkipPolicy policy : policies) {
      try (SkippingPredictor<long[], float[]> predictor =
          SkippingPredictor.wrap(model, new LastLogits(), policy)) {
        List<float[]> results = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
          results.add(predictor.predict(prompt(i)));
        }
        expected.add(results);
      }
    }
    ExecutorService threads = Executors.newFixedThreadPool(8);
    try {
      run(threads, policies, expected, 500);
      long before = ResidentMemory.bytes();
      // A single reading goes up and down by 40 MB with the collector's and malloc's reserves.
      long after = Long.MAX_VALUE;
      run(threads, policies, expected, 1400);
      for (int i = 0; i < 3; i++) {
        run(threads, policies, expected, 200);
        after = Math.min(after, ResidentMemory.bytes());
      }
      assertThat(after - before).as("growth of resident bytes").isLessThan(32L << 20);
    } finally {
      threads.shutdownNow();
    }
  }

  private static void run(
      ExecutorService threads, List<SkipPolicy> policies, List<List<float[]>> expected, int count)
      throws Exception {
    List<Future<?>> requests = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int request = i;
      requests.add(
          threads.submit(
              () -> {
                int policy = request % policies.size();
                try (SkippingPredictor<long[], float[]> predictor =
                    SkippingPredictor.wrap(model, new LastLogits(), policies.get(policy))) {
                  assertThat(predictor.predict(prompt(request % 10)))
                      .isEqualTo(expected.get(policy).get(request % 10));
                }
                return null;
              }));
    }
    for (Future<?> request : requests) {
      request.get();
    }
  }
}
