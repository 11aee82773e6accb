package io.winnow.core.internal.decoder;

import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** The norms of one block, and how it joins the residual by them. */
public final class BlockNorms {
  private final @Nullable Weight before;
  private final @Nullable Weight behind;
  private final double factor;
  private final Junction junction;

  /**
   * Creates it.
   *
   * @param before of the block's input, or null
   * @param behind of the block's output, or null
   * @param factor of what is added to the residual
   */
  public BlockNorms(@Nullable Weight before, @Nullable Weight behind, double factor) {
    this.before = before;
    this.behind = behind;
    this.factor = factor;
    junction =
        new Junction(
            before == null ? null : before.tensor(),
            behind == null ? null : behind.tensor(),
            factor);
  }

  List<Weight> weights() {
    return Stream.of(before, behind).filter(Objects::nonNull).toList();
  }

  /** Returns the junction of inference. */
  Junction junction() {
    return junction;
  }

  /** Returns the junction of a pass, which may be of training. */
  Junction junction(ForwardPass pass) {
    return pass.parameters() == null
        ? junction
        : new Junction(trained(pass, before), trained(pass, behind), factor);
  }

  private static @Nullable DeviceTensor trained(ForwardPass pass, @Nullable Weight weight) {
    return weight == null ? null : pass.weight(weight);
  }
}
