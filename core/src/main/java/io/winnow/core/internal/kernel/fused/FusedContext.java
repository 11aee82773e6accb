package io.winnow.core.internal.kernel.fused;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.jni.IValue;
import io.winnow.core.internal.form.GroupedAttention;
import io.winnow.core.internal.form.PositionForm;
import io.winnow.core.internal.form.PositionForm.Growth;
import io.winnow.core.internal.form.PositionForm.Visibility;
import io.winnow.core.internal.form.RotaryConfig;
import io.winnow.core.internal.form.SequenceMixer;
import io.winnow.core.internal.kernel.PassContext;
import io.winnow.core.internal.kernel.RotaryTable;
import io.winnow.core.internal.kernel.TokenPlaces;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import java.util.Collection;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** What the TorchScript methods know of a pass: one object for every use of positions. */
final class FusedContext extends PassContext {
  private final Map<PositionForm, IValue> contexts;

  private FusedContext(int sequences, int tokens, Map<PositionForm, IValue> contexts) {
    super(sequences, tokens);
    this.contexts = contexts;
  }

  /** Returns what a mixer knows. */
  IValue of(SequenceMixer mixer) {
    IValue context = contexts.get(mixer.positions());
    if (context == null) {
      throw new IllegalStateException("The pass was not prepared for " + mixer);
    }
    return context;
  }

  /** Makes contexts of one pass, which the manager closes. */
  static final class Maker {
    private final FusedKernel kernel;
    private final NDManager manager;
    private final TokenPlaces places;
    private final Map<RotaryConfig, RotaryTable> tables;
    private final Map<Visibility, IValue> masks = new HashMap<>();
    private @Nullable IValue positions;

    Maker(
        FusedKernel kernel,
        NDManager manager,
        TokenPlaces places,
        Map<RotaryConfig, RotaryTable> tables) {
      this.kernel = kernel;
      this.manager = manager;
      this.places = places;
      this.tables = tables;
    }

    FusedContext make(Collection<SequenceMixer> mixers) {
      Map<PositionForm, Integer> heads = new HashMap<>();
      for (SequenceMixer mixer : mixers) {
        heads.merge(mixer.positions(), rotatedTogether(mixer), Math::max);
      }
      Map<PositionForm, IValue> contexts = new HashMap<>();
      heads.forEach((form, together) -> contexts.put(form, context(form, together)));
      return new FusedContext(places.sequences(), places.tokens(), contexts);
    }

    /** Returns of how many heads the long rows are that several tokens are rotated in. */
    private int rotatedTogether(SequenceMixer mixer) {
      return places.tokens() > 1 && mixer.isPlain() && mixer instanceof GroupedAttention grouped
          ? grouped.heads() + grouped.keyValueHeads()
          : 0;
    }

    private IValue context(PositionForm form, int heads) {
      IValue growth = kernel.noTensors();
      Growth ofQueries = form.growth();
      if (ofQueries != null) {
        growth = list(DeviceTensor.owning(places.growth(manager, ofQueries)));
      }
      return kernel.own(
          manager,
          kernel
              .module()
              .run(
                  "context",
                  table(form),
                  positions(),
                  (long) places.sequences(),
                  (long) places.tokens(),
                  (long) places.past(),
                  (long) heads,
                  growth,
                  masks.computeIfAbsent(form.visibility(), this::mask)));
    }

    private DeviceTensor table(PositionForm form) {
      int length = places.past() + places.tokens();
      RotaryConfig rotary = form.rotary();
      RotaryTable table = rotary == null ? null : tables.get(rotary);
      return table == null
          ? kernel.noRotation(manager, length)
          : table.of(length).factors(kernel.module(), length);
    }

    private IValue positions() {
      IValue list = positions;
      if (list == null) {
        list =
            places.isPadded()
                ? list(DeviceTensor.owning(places.positions(manager)))
                : kernel.noTensors();
        positions = list;
      }
      return list;
    }

    private IValue mask(Visibility visibility) {
      NDArray mask = places.mask(manager, visibility, false);
      return mask == null ? kernel.noTensors() : list(kernel.narrowed(manager, mask));
    }

    private static IValue list(DeviceTensor tensor) {
      return TensorList.of(tensor).value();
    }
  }
}
