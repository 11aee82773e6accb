package io.winnow.pruning.evolve;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.winnow.core.ExpertMerge;
import io.winnow.core.InvalidInputException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What the search promises, on a task that costs nothing. */
class EvolutionarySearchTest {
  private static final SearchSpace SPACE = FakeTask.SPACE;

  static Individual pruning(int... experts) {
    return new Individual(Collections.nCopies(4, ExpertMerge.ofRetained(8, experts)), SPACE.topK());
  }

  static List<SearchGeneration> generations(EvolutionarySearch.Builder builder) {
    List<SearchGeneration> generations = new ArrayList<>();
    builder
        .optListener(
            new SearchListener() {
              @Override
              public void onGeneration(SearchGeneration generation) {
                generations.add(generation);
              }
            })
        .build()
        .run();
    return generations;
  }

  @Test
  void prunedIndividualsHaveDistinctAscendingRowsAndNoneIsTriedTwice() {
    Set<Individual> seen = new HashSet<>();
    for (SearchGeneration generation :
        generations(FakeTask.search(FakeTask.inline(), 1).optMerging(null))) {
      for (EvaluatedIndividual one : generation.individuals()) {
        assertThat(seen.add(one.individual())).isTrue();
        for (ExpertMerge merge : one.individual().groups()) {
          assertThat(merge.retainedExperts()).isSorted().doesNotHaveDuplicates().hasSize(4);
        }
      }
    }
    assertThat(seen).hasSize(40);
  }

  @Test
  void mergingStartsFromTheBestPrunedAndKeepsScoresPositive() {
    List<SearchGeneration> merging =
        generations(FakeTask.search(FakeTask.inline(), 1)).stream()
            .filter(generation -> generation.state().phase() == Phase.MERGING)
            .toList();
    EvolutionReport report = FakeTask.search(FakeTask.inline(), 1).build().run();
    assertThat(merging.get(0).individuals().get(0)).isEqualTo(report.pruned());
    assertThat(merging.stream().flatMap(generation -> generation.individuals().stream()))
        .hasSize(45)
        .allSatisfy(
            one ->
                assertThat(one.individual().groups())
                    .allSatisfy(
                        merge -> {
                          for (double[] row : merge.routerMapping()) {
                            assertThat(Arrays.stream(row)).allMatch(element -> element >= 0);
                          }
                        }));
  }

  @ParameterizedTest
  @ValueSource(longs = {0, 1, 2})
  void eachPhaseFindsBetterThanWhatItStartsFromAndThanChance(long seed) {
    EvolutionReport report =
        FakeTask.search(FakeTask.inline(), seed)
            .optStart(List.of(pruning(0, 1, 2, 3)))
            .optPruning(SearchLimit.evaluations(100))
            .optMerging(SearchLimit.evaluations(100))
            .build()
            .run();
    Random random = new Random(seed);
    double chance = Double.NEGATIVE_INFINITY;
    for (int i = 0; i < 1000; i++) {
      List<ExpertMerge> groups = new ArrayList<>();
      for (int group = 0; group < 4; group++) {
        List<Integer> all = new ArrayList<>(IntStream.range(0, 8).boxed().toList());
        Collections.shuffle(all, random);
        groups.add(
            ExpertMerge.ofRetained(8, all.subList(0, 4).stream().mapToInt(x -> x).toArray()));
      }
      chance = Math.max(chance, FakeTask.fitness(new Individual(groups, 2)));
    }
    assertThat(report.pruned().fitness())
        .as("the best of 100 against that of 1000 at random")
        .isGreaterThan(chance)
        .isGreaterThan(report.start().get(0).fitness());
    assertThat(report.best().fitness()).isGreaterThan(report.pruned().fitness() + 0.5);
    assertThat(report.best().individual().isPruning()).isFalse();
    assertThat(report.best().fitness()).isEqualTo(FakeTask.fitness(report.best().individual()));
  }

  @Test
  void theSameSeedGivesTheSameResultAndAnotherSeedAnother() {
    Individual best = FakeTask.search(FakeTask.inline(), 3).build().run().best().individual();
    assertThat(FakeTask.search(FakeTask.inline(), 3).build().run().best().individual().digest())
        .isEqualTo(best.digest());
    assertThat(FakeTask.search(FakeTask.inline(), 4).build().run().best().individual().digest())
        .isNotEqualTo(best.digest());
  }

  @Test
  void anyNumberOfWorkersEqualsOne() {
    EvolutionReport one = FakeTask.search(FakeTask.inline(), 5).build().run();
    ExecutorService executor = Executors.newFixedThreadPool(4);
    try {
      Random delays = new Random(5);
      Fitness fitness =
          Fitness.onExecutor(
              "fake",
              executor,
              4,
              0,
              individual -> {
                int delay = delays.nextInt(4);
                return () -> {
                  Thread.sleep(delay); // So that they end in another order.
                  return FakeTask.fitness(individual);
                };
              });
      EvolutionReport four = FakeTask.search(fitness, 5).build().run();
      assertThat(four.best()).isEqualTo(one.best());
      assertThat(four.pruned()).isEqualTo(one.pruned());
    } finally {
      executor.shutdownNow();
    }
  }

  @Test
  void aModelOfThePoolServesOneTaskAtATime() {
    List<FakeMergeableModel> models =
        List.of(new FakeMergeableModel(4, 8, 2), new FakeMergeableModel(4, 8, 2));
    SearchSpace space = SearchSpace.of(models.get(0), 4);
    Set<Object> busy = ConcurrentHashMap.newKeySet();
    ExecutorService executor = Executors.newFixedThreadPool(3);
    try {
      Fitness fitness =
          Fitness.ofModels(
              "fake",
              executor,
              models.stream().map(model -> MergedModel.of(model, space)).toList(),
              model -> {
                assertThat(busy.add(model)).isTrue();
                List<ExpertMerge> merges =
                    ((FakeMergeableModel) model).layers.stream().map(layer -> layer.merge).toList();
                double value = FakeTask.fitness(new Individual(merges, 2));
                busy.remove(model);
                return value;
              });
      EvolutionReport pooled =
          EvolutionarySearch.builder(space, fitness)
              .optPruning(SearchLimit.evaluations(30))
              .optMerging(null)
              .build()
              .run();
      EvolutionReport inline =
          EvolutionarySearch.builder(space, FakeTask.inline())
              .optPruning(SearchLimit.evaluations(30))
              .optMerging(null)
              .build()
              .run();
      assertThat(pooled.best()).isEqualTo(inline.best());
    } finally {
      executor.shutdownNow();
    }
  }

  @Test
  void aTaskThatFailsIsTriedAgainAsOftenAsAllowed() {
    ExecutorService executor = Executors.newSingleThreadExecutor();
    try {
      AtomicInteger tasks = new AtomicInteger();
      EvolutionReport report =
          FakeTask.search(
                  Fitness.onExecutor(
                      "fake",
                      executor,
                      1,
                      1,
                      individual ->
                          () -> {
                            if (tasks.incrementAndGet() % 2 == 1) {
                              throw new IllegalStateException("lost");
                            }
                            return FakeTask.fitness(individual);
                          }),
                  0)
              .build()
              .run();
      assertThat(report.best())
          .isEqualTo(FakeTask.search(FakeTask.inline(), 0).build().run().best());
      Fitness failing =
          Fitness.onExecutor(
              "fake",
              executor,
              1,
              1,
              individual ->
                  () -> {
                    throw new IllegalStateException("lost");
                  });
      assertThatThrownBy(() -> FakeTask.search(failing, 0).build().run())
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("lost");
    } finally {
      executor.shutdownNow();
    }
  }

  @Test
  void limitsComposeAndEvaluationsAreExact() {
    assertThat(
            FakeTask.search(FakeTask.inline(), 0)
                .optPruning(SearchLimit.evaluations(23))
                .optMerging(SearchLimit.evaluations(0))
                .build()
                .run())
        .satisfies(
            report -> {
              assertThat(report.pruningEvaluations()).isEqualTo(23);
              assertThat(report.mergingEvaluations()).isZero();
              assertThat(report.best()).isEqualTo(report.pruned());
            });
    AtomicInteger asked = new AtomicInteger();
    assertThat(
            FakeTask.search(FakeTask.inline(), 0)
                .optPruning(
                    SearchLimit.evaluations(1000).or(SearchLimit.when(() -> asked.get() > 2)))
                .optMerging(null)
                .optListener(
                    new SearchListener() {
                      @Override
                      public void onGeneration(SearchGeneration generation) {
                        asked.incrementAndGet();
                      }
                    })
                .build()
                .run()
                .pruningEvaluations())
        .isEqualTo(30);
    EvaluatedIndividual best = new EvaluatedIndividual(pruning(0, 1, 2, 3), 0.5);
    SearchState state = new SearchState(Phase.PRUNING, 3, 30, 20, best, Duration.ofMinutes(2));
    assertThat(SearchLimit.stagnation(20).isReached(state)).isTrue();
    assertThat(SearchLimit.stagnation(21).isReached(state)).isFalse();
    assertThat(SearchLimit.target(0.5).isReached(state)).isTrue();
    assertThat(SearchLimit.target(0.6).isReached(state)).isFalse();
    assertThat(SearchLimit.time(Duration.ofMinutes(2)).isReached(state)).isTrue();
    assertThat(SearchLimit.time(Duration.ofMinutes(3)).isReached(state)).isFalse();
    assertThat(SearchLimit.evaluations(31).or(SearchLimit.evaluations(40)).evaluationsLeft(state))
        .isEqualTo(1);
    assertThatThrownBy(() -> SearchLimit.evaluations(-1)).hasMessageContaining("-1");
  }

  @Test
  void aLongerSearchBeginsLikeAShorterOne() {
    List<SearchGeneration> shorter =
        generations(FakeTask.search(FakeTask.inline(), 0).optMerging(null));
    List<SearchGeneration> longer =
        generations(
            FakeTask.search(FakeTask.inline(), 0)
                .optPruning(SearchLimit.evaluations(60))
                .optMerging(null));
    assertThat(longer.subList(0, 4))
        .extracting(SearchGeneration::individuals)
        .isEqualTo(shorter.stream().map(SearchGeneration::individuals).toList());
  }

  @Test
  void aSmallSpaceIsExhausted() {
    SearchSpace small = new SearchSpace(List.of(0, 1), 1, 4, 2, 1);
    EvolutionReport report =
        EvolutionarySearch.builder(small, FakeTask.inline()).optMerging(null).build().run();
    assertThat(report.pruningEvaluations()).isEqualTo(6);
  }

  @Test
  void aFitnessThatIsNoNumberIsTheWorst() {
    Individual start = pruning(0, 1, 2, 3);
    double low = FakeTask.fitness(start);
    AtomicInteger odd = new AtomicInteger();
    Fitness partial =
        Fitness.of(
            "partial",
            individual -> {
              double fitness = FakeTask.fitness(individual);
              if (fitness < low) {
                odd.incrementAndGet();
                return Double.NaN;
              }
              return fitness;
            });
    EvolutionReport report = FakeTask.search(partial, 0).optStart(List.of(start)).build().run();
    assertThat(odd).hasPositiveValue();
    assertThat(report.best().fitness()).isGreaterThan(low);
    EvolutionReport never =
        FakeTask.search(Fitness.of("never", individual -> Double.NaN), 0).build().run();
    assertThat(EvolutionReportTest.json(never).getAsJsonObject("best").get("fitness").isJsonNull())
        .isTrue();
  }

  @Test
  void anInterruptEndsTheSearch() {
    Fitness interrupting =
        Fitness.of(
            "fake",
            individual -> {
              Thread.currentThread().interrupt();
              return 0;
            });
    assertThatThrownBy(() -> FakeTask.search(interrupting, 0).build().run())
        .isInstanceOf(CancellationException.class);
    assertThat(Thread.interrupted()).isTrue();
  }

  @Test
  void impossibleSettingsAreRefused() {
    assertThatThrownBy(
            () ->
                FakeTask.search(FakeTask.inline(), 0)
                    .optStart(List.of(new Individual(pruning(0, 1, 2, 3).groups(), 1))))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("k = 1");
    assertThatThrownBy(() -> FakeTask.search(FakeTask.inline(), 0).optGenerationSize(0).build())
        .hasMessageContaining("generation size is 0");
    assertThatThrownBy(
            () ->
                FakeTask.search(FakeTask.inline(), 0)
                    .optPruning(SearchLimit.evaluations(0))
                    .build()
                    .run())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("nothing to start from");
  }
}
