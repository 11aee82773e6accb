package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.Kernel;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import org.jspecify.annotations.Nullable;

/** What makes logits of the last layer's hidden states. */
record DecoderHead(
    Kernel kernel, Junction junction, DeviceTensor weight, @Nullable TensorList bias) {
  DecoderHead(Kernel kernel, DeviceTensor norm, DeviceTensor weight, @Nullable TensorList bias) {
    this(kernel, Junction.ofHead(norm), weight, bias);
  }

  /**
   * Computes float32 logits of the last {@code count} of each sequence's {@code tokens}, {@code
   * [sequences, count, vocabulary]}.
   */
  NDArray logits(NDManager manager, Residual residual, int tokens, int count) {
    return kernel.head(manager, residual, junction, weight, bias, tokens, count);
  }
}
