package io.winnow.core.internal.kernel;

import ai.djl.pytorch.jni.IValue;
import io.winnow.core.internal.form.MixerPart;
import io.winnow.core.internal.form.SequenceMixer;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import java.util.EnumMap;
import java.util.Map;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * The weights of one layer's sequence mixer, how they are used, and how it joins the residual. The
 * tensors stay with whom they belong to. Thread-safe.
 */
public final class MixerWeights {
  private final SequenceMixer form;
  private final Junction junction;
  private final Map<MixerPart, DeviceTensor> parts;
  private final @Nullable DeviceTensor projections;
  private @Nullable IValue script;

  /**
   * Creates it.
   *
   * @param projections the matrix of which query, key and value are rows, if there is one
   */
  public MixerWeights(
      SequenceMixer form,
      Junction junction,
      Map<MixerPart, DeviceTensor> parts,
      @Nullable DeviceTensor projections) {
    this.form = form;
    this.junction = junction;
    this.parts = new EnumMap<>(parts);
    this.projections = projections;
  }

  /** Returns how the weights are used. */
  public SequenceMixer form() {
    return form;
  }

  /** Returns how the mixer joins the residual. */
  public Junction junction() {
    return junction;
  }

  /** Returns whether nothing but sizes and visibility sets it apart from Mixtral's attention. */
  public boolean isPlain() {
    return form.isPlain() && junction.isPlain();
  }

  /** Returns the matrix of which query, key and value are rows, or null. */
  public @Nullable DeviceTensor projections() {
    return projections;
  }

  /** Returns a weight that the mixer's form demands. */
  public DeviceTensor get(MixerPart part) {
    DeviceTensor tensor = parts.get(part);
    if (tensor == null) {
      throw new IllegalStateException("The sequence mixer has no " + part);
    }
    return tensor;
  }

  /** Returns a weight, or null. */
  public @Nullable DeviceTensor find(MixerPart part) {
    return parts.get(part);
  }

  /** Returns a matrix of the model's type. */
  public DeviceTensor like() {
    return get(MixerPart.OUTPUT);
  }

  /** Returns it as a TorchScript object, made on first use; whoever makes it sees to its end. */
  public synchronized IValue script(Function<MixerWeights, IValue> make) {
    IValue current = script;
    if (current == null) {
      current = make.apply(this);
      script = current;
    }
    return current;
  }
}
