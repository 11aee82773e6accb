package io.winnow.pruning.evolve;

import io.winnow.pruning.internal.evolve.Journal;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * What the individuals of a search are worth: each is evaluated once, here or by another process
 * that shares the journal.
 */
final class Evaluations implements AutoCloseable {
  private static final long POLL_MILLIS = 20;

  private final Fitness fitness;
  private final @Nullable Journal journal;
  private final SearchListener listener;
  private final Map<String, Double> known = new HashMap<>();

  Evaluations(Fitness fitness, @Nullable Journal journal, SearchListener listener) {
    this.fitness = fitness;
    this.journal = journal;
    this.listener = listener;
  }

  /** Returns whether an individual has been evaluated. */
  boolean isKnown(Individual individual) {
    return known.containsKey(individual.digest());
  }

  /** Evaluates what is not known yet, and returns all in their order. */
  List<EvaluatedIndividual> evaluate(Phase phase, List<Individual> individuals) {
    Map<String, Individual> pending = new LinkedHashMap<>();
    individuals.forEach(one -> pending.put(one.digest(), one));
    pending.keySet().removeIf(known::containsKey);
    while (true) {
      takeKnown(pending);
      if (pending.isEmpty()) {
        break;
      }
      fitness.evaluate(
          new Unclaimed(pending),
          (individual, value) -> {
            EvaluatedIndividual evaluated = new EvaluatedIndividual(individual, value);
            String digest = individual.digest();
            if (journal != null) {
              journal.append(digest, evaluated.fitness());
              journal.release(digest);
            }
            known.put(digest, evaluated.fitness());
            pending.remove(digest);
            listener.onEvaluation(phase, evaluated);
          });
      takeKnown(pending);
      if (!pending.isEmpty()) {
        Journal.pause(POLL_MILLIS); // Another process is at what is left.
      }
    }
    return individuals.stream().map(this::evaluated).toList();
  }

  /** Returns an individual that has been evaluated. */
  EvaluatedIndividual evaluated(Individual individual) {
    return new EvaluatedIndividual(
        individual, Objects.requireNonNull(known.get(individual.digest())));
  }

  private void takeKnown(Map<String, Individual> pending) {
    if (journal == null) {
      return;
    }
    journal.refresh();
    pending
        .keySet()
        .removeIf(
            digest -> {
              Double value = journal.find(digest);
              if (value != null) {
                known.put(digest, value);
              }
              return value != null;
            });
  }

  /** The individuals that no other process works on, each claimed when it is asked for. */
  private final class Unclaimed implements Iterator<Individual> {
    private final Map<String, Individual> left;
    private @Nullable Individual next;

    Unclaimed(Map<String, Individual> pending) {
      left = new LinkedHashMap<>(pending);
    }

    @Override
    public boolean hasNext() {
      for (Iterator<Map.Entry<String, Individual>> entries = left.entrySet().iterator();
          next == null && entries.hasNext(); ) {
        Map.Entry<String, Individual> entry = entries.next();
        if (journal == null) {
          next = entry.getValue();
          entries.remove();
        } else if (journal.claim(entry.getKey())) {
          entries.remove();
          if (journal.find(entry.getKey()) == null) {
            next = entry.getValue();
          } else {
            journal.release(entry.getKey());
          }
        }
      }
      return next != null;
    }

    @Override
    public Individual next() {
      if (!hasNext()) {
        throw new NoSuchElementException();
      }
      Individual taken = Objects.requireNonNull(next);
      next = null;
      return taken;
    }
  }

  @Override
  public void close() {
    if (journal != null) {
      journal.close();
    }
  }
}
