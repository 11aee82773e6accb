package io.winnow.pruning.evolve;

import com.google.common.base.Stopwatch;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.ExpertMerge;
import io.winnow.core.InvalidInputException;
import io.winnow.core.Provenance;
import io.winnow.core.internal.environment.Interruption;
import io.winnow.pruning.internal.evolve.Evaluated;
import io.winnow.pruning.internal.evolve.Journal;
import io.winnow.pruning.internal.evolve.MergingOperators;
import io.winnow.pruning.internal.evolve.Operators;
import io.winnow.pruning.internal.evolve.PruningOperators;
import io.winnow.pruning.internal.evolve.Shape;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CancellationException;
import org.jspecify.annotations.Nullable;

/**
 * Evolutionary search for the experts that stay and for how the others merge into them (EEP, arXiv
 * 2407.00945), judged by the whole model on a task.
 *
 * <pre>{@code
 * SearchSpace space = SearchSpace.of(model, 4);
 * EvolutionReport report =
 *     EvolutionarySearch.builder(space, fitness)
 *         .optStart(List.of(space.individual(naee.plan())))
 *         .optPruning(SearchLimit.evaluations(100))
 *         .optMerging(SearchLimit.evaluations(300))
 *         .build()
 *         .run();
 * }</pre>
 *
 * <p>Parents are chosen generation by generation, and everything random has a seed: with the same
 * space, start, limits, seed and generation size the result is the same, whatever the number of
 * workers, and however often a search with a journal was killed and started again. Of two equally
 * good individuals the earlier wins.
 *
 * <p>Immutable. It starts no thread; an interrupt ends a run with a {@link CancellationException}.
 */
// Jenetics' chromosomes are sequences of independent genes of one kind; rows of experts that stay
// distinct, and matrices recombined by what all individuals let expect, are not. Its limits are the
// model for SearchLimit.
public final class EvolutionarySearch {
  private static final int VERSION = 1;

  private final SearchSpace space;
  private final Fitness fitness;
  private final List<Individual> start;
  private final SearchLimit pruningLimit;
  private final @Nullable SearchLimit mergingLimit;
  private final int generationSize;
  private final long seed;
  private final @Nullable Path journalFolder;
  private final SearchListener listener;
  private final @Nullable String source;

  private EvolutionarySearch(Builder builder) {
    space = builder.space;
    fitness = builder.fitness;
    start = builder.start;
    pruningLimit = builder.pruningLimit;
    mergingLimit = builder.mergingLimit;
    generationSize = builder.generationSize;
    seed = builder.seed;
    journalFolder = builder.journal;
    listener = builder.listener;
    source = builder.source;
  }

  /** Returns a builder of a search in a space. */
  public static Builder builder(SearchSpace space, Fitness fitness) {
    return new Builder(space, fitness);
  }

  /**
   * Searches.
   *
   * @throws InvalidInputException if the journal is of another search or damaged
   * @throws CancellationException if the thread is interrupted, which it stays; what is in the
   *     journal is not lost
   */
  public EvolutionReport run() {
    try (Run run = new Run()) {
      return run.report();
    }
  }

  private JsonObject identity() {
    JsonObject json = new JsonObject();
    json.addProperty("version", VERSION);
    json.addProperty("fitness", fitness.digest());
    json.add("space", space.toJson());
    json.addProperty("seed", seed);
    json.addProperty("generation_size", generationSize);
    JsonArray digests = new JsonArray();
    start.forEach(individual -> digests.add(individual.digest()));
    json.add("start", digests);
    return json;
  }

  /** One search. */
  private final class Run implements AutoCloseable {
    private final Stopwatch total = Stopwatch.createStarted();
    private final Evaluations evaluations =
        new Evaluations(
            fitness,
            journalFolder == null ? null : Journal.open(journalFolder, identity()),
            listener);
    private @Nullable EvaluatedIndividual best;

    EvolutionReport report() {
      List<Individual> pruning = start.stream().filter(Individual::isPruning).toList();
      List<EvaluatedIndividual> pruned =
          search(Phase.PRUNING, new PruningOperators(shape(), groups(pruning)), pruningLimit);
      List<EvaluatedIndividual> merged = List.of();
      if (mergingLimit != null) {
        List<Individual> from = new ArrayList<>();
        if (!pruned.isEmpty()) {
          from.add(best(pruned).individual());
        }
        start.stream().filter(one -> pruned.isEmpty() || !one.isPruning()).forEach(from::add);
        if (from.isEmpty()) {
          throw new InvalidInputException(
              "The merging phase has nothing to start from; allow evaluations in the pruning phase,"
                  + " or give an individual to start with");
        }
        merged = search(Phase.MERGING, new MergingOperators(shape(), groups(from)), mergingLimit);
      }
      if (best == null) {
        throw new InvalidInputException("The limits allow no evaluation at all; raise them");
      }
      return new EvolutionReport(
          space,
          start.stream().filter(evaluations::isKnown).map(evaluations::evaluated).toList(),
          pruned.isEmpty() ? null : best(pruned),
          best,
          pruned.stream().map(EvaluatedIndividual::fitness).toList(),
          merged.stream().map(EvaluatedIndividual::fitness).toList(),
          fitness.digest(),
          new Provenance(mergingLimit == null ? "eep-prune" : "eep", null, seed, source),
          total.elapsed());
    }

    private List<EvaluatedIndividual> search(Phase phase, Operators operators, SearchLimit limit) {
      Stopwatch time = Stopwatch.createStarted();
      List<EvaluatedIndividual> history = new ArrayList<>();
      int bestAt = 0;
      SearchState state = new SearchState(phase, 0, 0, 0, best, time.elapsed());
      while (!limit.isReached(state)) {
        Interruption.check(Journal.INTERRUPTED);
        // As if there were no limit, so that a longer search has a shorter one's generations.
        List<Individual> next = next(operators, history, random(phase, state.generation()));
        next = next.subList(0, Math.min(next.size(), limit.evaluationsLeft(state)));
        if (next.isEmpty()) {
          break; // Everything there is has been evaluated.
        }
        List<EvaluatedIndividual> generation = evaluations.evaluate(phase, next);
        for (EvaluatedIndividual one : generation) {
          history.add(one);
          if (best == null || one.fitness() > best.fitness()) {
            best = one;
            bestAt = history.size();
          }
        }
        state =
            new SearchState(
                phase,
                state.generation() + 1,
                history.size(),
                history.size() - bestAt,
                best,
                time.elapsed());
        listener.onGeneration(new SearchGeneration(state, generation));
      }
      return history;
    }

    private List<Individual> next(
        Operators operators, List<EvaluatedIndividual> history, Random random) {
      List<Evaluated> evaluated =
          history.stream()
              .map(one -> new Evaluated(one.individual().groups(), one.fitness()))
              .toList();
      return operators.next(evaluated, generationSize, random).stream()
          .map(groups -> new Individual(groups, space.topK()))
          .toList();
    }

    private static EvaluatedIndividual best(List<EvaluatedIndividual> history) {
      return Operators.best(history, EvaluatedIndividual::fitness);
    }

    private Shape shape() {
      return new Shape(space.groups(), space.numExperts(), space.retained());
    }

    private static List<List<ExpertMerge>> groups(List<Individual> individuals) {
      return individuals.stream().map(Individual::groups).toList();
    }

    private Random random(Phase phase, int generation) {
      return new Random(
          seed * 0x9E3779B97F4A7C15L
              + 0x632BE59BD9B4E019L * (2L * generation + phase.ordinal() + 1));
    }

    @Override
    public void close() {
      evaluations.close();
    }
  }

  /** Builds a search. Not thread-safe. */
  public static final class Builder {
    private final SearchSpace space;
    private final Fitness fitness;
    private List<Individual> start = List.of();
    private SearchLimit pruningLimit = SearchLimit.evaluations(100);
    private @Nullable SearchLimit mergingLimit = SearchLimit.evaluations(300);
    private int generationSize = 10;
    private long seed;
    private @Nullable Path journal;
    private SearchListener listener = new SearchListener() {};
    private @Nullable String source;

    private Builder(SearchSpace space, Fitness fitness) {
      this.space = space;
      this.fitness = fitness;
    }

    /**
     * Sets individuals to start with, for example what NAEE chose; they are evaluated first. Those
     * that only prune start the pruning phase, others the merging phase.
     *
     * @throws InvalidInputException if one is not of the search's space, or they are more than a
     *     generation
     */
    public Builder optStart(List<Individual> newStart) {
      newStart.forEach(space::check);
      start = List.copyOf(newStart);
      return this;
    }

    /** Sets when the pruning phase ends; default: after 100 evaluations. */
    public Builder optPruning(SearchLimit newLimit) {
      pruningLimit = newLimit;
      return this;
    }

    /**
     * Sets when the merging phase ends, null for a search without one; default: after 300
     * evaluations.
     */
    public Builder optMerging(@Nullable SearchLimit newLimit) {
      mergingLimit = newLimit;
      return this;
    }

    /**
     * Sets how many individuals are made at a time, which is how many workers can be busy; default:
     * 10. Smaller generations learn sooner.
     */
    public Builder optGenerationSize(int newGenerationSize) {
      generationSize = newGenerationSize;
      return this;
    }

    /** Sets the seed of everything random; default: 0. */
    public Builder optSeed(long newSeed) {
      seed = newSeed;
      return this;
    }

    /**
     * Sets a folder that remembers every evaluation. A search that was killed continues from it; it
     * may have other limits, but must be the same in everything else. Several processes that run
     * the same search on one folder share the work. Default: none.
     */
    public Builder optJournal(@Nullable Path folder) {
      journal = folder;
      return this;
    }

    /** Sets who is told how the search gets on; default: nobody. */
    public Builder optListener(SearchListener newListener) {
      listener = newListener;
      return this;
    }

    /** Sets the digest of the checkpoint that is searched, for the report; default: unknown. */
    public Builder optSource(@Nullable String newSource) {
      source = newSource;
      return this;
    }

    /**
     * Builds the search.
     *
     * @throws InvalidInputException if the generation is empty, or smaller than the start
     */
    public EvolutionarySearch build() {
      if (generationSize < 1 || generationSize < start.size()) {
        throw new InvalidInputException(
            "The generation size is "
                + generationSize
                + ", with "
                + start.size()
                + " individuals to start with; use at least 1, and as many as those");
      }
      return new EvolutionarySearch(this);
    }
  }
}
