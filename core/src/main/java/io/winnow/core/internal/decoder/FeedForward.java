package io.winnow.core.internal.decoder;

import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.RoutedResidual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import org.jspecify.annotations.Nullable;

/** What follows the sequence mixer in a decoder layer, added to the residual. */
public abstract class FeedForward extends DecoderBlock {
  FeedForward(DecoderRuntime runtime) {
    super(runtime);
  }

  /** Returns whether its experts are three matrices each, without biases. */
  abstract boolean isPlain();

  /** Returns how it joins the residual. */
  abstract Junction junction(ForwardPass pass);

  /** Returns the gate, with a row for every logit that {@link #mix} needs. */
  abstract DeviceTensor gate(ForwardPass pass);

  /**
   * Adds experts' outputs, now or together with what follows; null if the pass's observer ended it.
   */
  abstract @Nullable Residual mix(ForwardPass pass, RoutedResidual routed);

  @Override
  @Nullable DeviceTensor apply(ForwardPass pass, DeviceTensor hidden) {
    Residual output =
        mix(pass, pass.kernel().route(pass.manager(), hidden, junction(pass), gate(pass)));
    return output == null ? null : pass.kernel().settle(pass.manager(), output);
  }
}
