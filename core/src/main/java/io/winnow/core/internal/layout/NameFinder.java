package io.winnow.core.internal.layout;

import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.TensorNames;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.internal.layout.KnownNames.Place;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * Finds under which of the {@link KnownNames} a checkpoint holds its tensors: how they are named
 * and how experts lie is a property of the checkpoint, not of its family.
 */
final class NameFinder {
  private final Checkpoint checkpoint;
  private final DecoderConfig config;

  private NameFinder(Checkpoint checkpoint, DecoderConfig config) {
    this.checkpoint = checkpoint;
    this.config = config;
  }

  /**
   * Returns the names in a checkpoint. What is under no known name keeps the family's own, so that
   * whoever asks for it names that.
   *
   * @param own the family's
   */
  static TensorNames find(Checkpoint checkpoint, DecoderConfig config, TensorNames own) {
    NameFinder finder = new NameFinder(checkpoint, config);
    TensorNames names = finder.place(own);
    OptionalInt sparse = config.firstSparseLayer();
    return sparse.isPresent()
        ? finder.experts(sparse.getAsInt(), finder.gate(sparse.getAsInt(), names))
        : names;
  }

  private TensorNames place(TensorNames own) {
    List<TensorNames> candidates = new ArrayList<>();
    candidates.add(own);
    candidates.add(own.but().stem("").build());
    for (Place place : KnownNames.PLACES) {
      candidates.add(own.but().prefix(place.prefix()).stem(place.stem()).build());
    }
    return first(candidates, names -> checkpoint.has(names.finalNorm()), own);
  }

  private TensorNames gate(int layer, TensorNames own) {
    List<TensorNames> candidates = new ArrayList<>();
    candidates.add(own);
    for (String block : with(own.block(), KnownNames.BLOCKS)) {
      for (String router : with(own.router(), KnownNames.ROUTERS)) {
        TensorNames.Builder names = own.but().block(block).router(router);
        if (own.hasRouterBias()) {
          names.routerBias(router.substring(0, router.lastIndexOf('.')) + ".bias");
        }
        candidates.add(names.build());
      }
    }
    TensorNames names = first(candidates, found -> checkpoint.has(found.router(layer)), own);
    String correction = names.correction();
    if (correction == null) {
      return names;
    }
    String found =
        first(
            with(correction, KnownNames.CORRECTIONS),
            name -> checkpoint.has(names.block(layer, name)),
            correction);
    return names.but().correction(found).build();
  }

  private TensorNames experts(int layer, TensorNames names) {
    ExpertNames own = names.experts();
    boolean alternating = own instanceof ExpertNames.Fused fused && fused.layout().isAlternating();
    boolean biased = own instanceof ExpertNames.Fused fused && fused.gateUpBias() != null;
    ExpertNames found =
        first(
            with(own, KnownNames.experts(alternating, biased)),
            experts -> has(names, layer, experts),
            own);
    return names
        .but()
        .experts(found instanceof ExpertNames.Fused fused ? turned(names, layer, fused) : found)
        .build();
  }

  private boolean has(TensorNames names, int layer, ExpertNames experts) {
    if (experts instanceof ExpertNames.Single single) {
      return checkpoint.has(names.expert(layer, single.gate(), 0));
    }
    if (experts instanceof ExpertNames.Pair pair) {
      return checkpoint.has(names.expert(layer, pair.gateUp(), 0));
    }
    String gateUp = names.block(layer, ((ExpertNames.Fused) experts).gateUp());
    return checkpoint.has(gateUp) || checkpoint.has(Quantization.blocksOf(gateUp));
  }

  /** Returns fused experts by rows or by columns, as the shapes of their tensors say. */
  private ExpertNames.Fused turned(TensorNames names, int layer, ExpertNames.Fused fused) {
    long hidden = config.hiddenSize();
    long size = config.intermediateSize();
    List<Long> gateUp = shape(names.block(layer, fused.gateUp()));
    List<Long> down = shape(names.block(layer, fused.down()));
    boolean rows = is(gateUp, 2 * size, hidden) && is(down, hidden, size);
    boolean columns = is(gateUp, hidden, 2 * size) && is(down, size, hidden);
    return rows == columns
        ? fused
        : new ExpertNames.Fused(
            fused.layout().transposed(columns),
            fused.gateUp(),
            fused.down(),
            fused.gateUpBias(),
            fused.downBias());
  }

  private @Nullable List<Long> shape(String name) {
    return checkpoint.has(name) ? checkpoint.tensor(name).shape() : null;
  }

  private static boolean is(@Nullable List<Long> shape, long rows, long columns) {
    return shape != null && shape.size() == 3 && shape.subList(1, 3).equals(List.of(rows, columns));
  }

  private static <T> List<T> with(T own, List<T> known) {
    List<T> all = new ArrayList<>();
    all.add(own);
    all.addAll(known);
    return all;
  }

  private static <T> T first(List<T> candidates, Predicate<T> isThere, T own) {
    return candidates.stream().filter(isThere).findFirst().orElse(own);
  }
}
