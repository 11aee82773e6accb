package io.winnow.skipping;

import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.LongAdder;

/** Counts what is skipped. Thread-safe. */
public final class SkipCounter implements SkipListener {
  private final ConcurrentSkipListMap<Integer, Counts> layers = new ConcurrentSkipListMap<>();

  private static final class Counts {
    private final LongAdder tokens = new LongAdder();
    private final LongAdder selected = new LongAdder();
    private final LongAdder skipped = new LongAdder();
  }

  @Override
  public void onSkip(int layer, long tokens, long selected, long skipped) {
    Counts counts = layers.computeIfAbsent(layer, index -> new Counts());
    counts.tokens.add(tokens);
    counts.selected.add(selected);
    counts.skipped.add(skipped);
  }

  /** Returns what was counted so far. */
  public SkipStatistics snapshot() {
    return new SkipStatistics(
        layers.entrySet().stream()
            .map(
                entry ->
                    new SkipStatistics.Layer(
                        entry.getKey(),
                        entry.getValue().tokens.sum(),
                        entry.getValue().selected.sum(),
                        entry.getValue().skipped.sum()))
            .toList());
  }
}
