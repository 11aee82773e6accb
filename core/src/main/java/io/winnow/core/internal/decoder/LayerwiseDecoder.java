package io.winnow.core.internal.decoder;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.ForwardObserver;
import io.winnow.core.LayerCut;
import io.winnow.core.LayerSize;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.MoeLayerView;
import io.winnow.core.Provenance;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.checkpoint.CheckpointDraft;
import io.winnow.core.internal.environment.Telemetry;
import io.winnow.core.internal.kernel.Kernel;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.fit.FitKernel;
import io.winnow.core.internal.layout.CheckpointLayout;
import io.winnow.core.internal.layout.SizedDraft;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.TreeMap;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * The decoder with one layer in memory. Routed experts stay in their files, as they are stored;
 * everything else is small, and converted to float32.
 */
public final class LayerwiseDecoder implements LayerwiseModel {
  private final CheckpointLayout layout;
  private final DataType stored;
  private final Consumer<String> listener;

  /**
   * Creates it.
   *
   * @param stored the type of the experts in the checkpoint
   * @param listener is told the name of every tensor that is read to compute with, each time
   */
  public LayerwiseDecoder(CheckpointLayout layout, DataType stored, Consumer<String> listener) {
    this.layout = layout;
    this.stored = stored;
    this.listener = listener;
  }

  @Override
  public List<MoeLayer> moeLayers() {
    return layout.config().sparseLayers().stream()
        .map(layer -> new MoeLayer(layer, layout.experts(layer), layout.routing(layer, null)))
        .toList();
  }

  @Override
  public int layers() {
    return layout.config().layers();
  }

  @Override
  public int hiddenSize() {
    return layout.config().hiddenSize();
  }

  @Override
  public int intermediateSize() {
    return layout.config().intermediateSize();
  }

  @Override
  public int vocabularySize() {
    return layout.config().vocabularySize();
  }

  @Override
  public int maxPositions() {
    return layout.config().maxPositions();
  }

  @Override
  public String sourceDigest() {
    return layout.checkpoint().digest();
  }

  @Override
  public long layerBytes(int layer) {
    return layout.layerTensors(layer).stream().mapToLong(TensorInfo::length).sum();
  }

  @Override
  public void readAhead(int layer) {
    Checkpoint.readAhead(layout.layerTensors(layer));
  }

  @Override
  public Embedding openEmbedding(Device device) {
    Opened opened = new Opened(device);
    try {
      DeviceTensor table = opened.reader.readEmbedding(stored, listener);
      return new Embedding() {
        @Override
        public NDArray embed(NDManager manager, TokenSequences sequences) {
          try (NDManager scratch = opened.manager.newSubManager()) {
            NDArray ids =
                scratch.create(
                    sequences.flatten(0, sequences.count()),
                    new Shape(sequences.count(), sequences.length()));
            Kernel kernel = opened.reader.runtime().inferenceKernel();
            NDArray hidden = kernel.settle(scratch, kernel.embed(scratch, table, ids)).array();
            hidden.attach(manager);
            return hidden;
          }
        }

        @Override
        public void close() {
          opened.manager.close();
        }
      };
    } catch (RuntimeException e) {
      opened.manager.close();
      throw e;
    }
  }

  @Override
  public Layer openLayer(int layer, Device device) {
    Opened opened = new Opened(device);
    try {
      return new OpenLayer(opened, opened.reader.readLayer(layer, stored, listener));
    } catch (RuntimeException e) {
      opened.manager.close();
      throw e;
    }
  }

  /** A reader, and the manager that owns all that it reads. */
  private final class Opened {
    private final NDManager manager;
    private final DecoderReader reader;

    Opened(Device device) {
      Telemetry.off();
      manager = NDManager.newBaseManager(device, "PyTorch");
      reader =
          new DecoderReader(
              layout, manager, DataType.FLOAT32, true, false, "A layer on its own is not trained");
    }
  }

  private record OpenLayer(Opened opened, DecoderLayer layer) implements Layer {
    @Override
    public NDManager manager() {
      return opened.manager;
    }

    @Override
    public Optional<MoeLayerView> moe() {
      return layer.feedForward() instanceof SparseMoe moe ? Optional.of(moe) : Optional.empty();
    }

    @Override
    public OptionalDouble outputFactor() {
      return layer.feedForward() instanceof SparseMoe moe
          ? moe.outputFactor()
          : OptionalDouble.empty();
    }

    @Override
    public @Nullable NDArray forward(NDArray hidden, int sequences, ForwardObserver observer) {
      int tokens = (int) hidden.getShape().get(0) / sequences;
      try (NDManager scratch = opened.manager.newSubManager();
          Residual input = Residual.of(DeviceTensor.borrowing(hidden))) {
        DecoderRuntime runtime = opened.reader.runtime();
        ForwardPass pass =
            runtime.newPass(
                scratch,
                null,
                runtime.inferenceKernel(),
                tokens,
                new long[sequences],
                null,
                observer);
        Residual output = layer.step(pass, input);
        if (output == null) {
          return null;
        }
        NDArray result = pass.kernel().settle(scratch, output).array();
        result.attach(hidden.getManager());
        return result;
      }
    }

    @Override
    public void close() {
      opened.manager.close();
    }
  }

  @Override
  public Head openHead(Device device) {
    Opened opened = new Opened(device);
    try {
      return new OpenHead(opened, opened.reader.readHead(stored, listener));
    } catch (RuntimeException e) {
      opened.manager.close();
      throw e;
    }
  }

  private record OpenHead(Opened opened, DecoderHead head) implements Head {
    @Override
    public NDArray logits(NDArray hidden) {
      int tokens = (int) hidden.getShape().get(0);
      try (Residual residual = Residual.of(DeviceTensor.borrowing(hidden))) {
        NDArray logits = head.logits(hidden.getManager(), residual, tokens, tokens);
        NDArray rows = logits.reshape(tokens, -1);
        logits.close();
        return rows;
      }
    }

    @Override
    public void close() {
      opened.manager.close();
    }
  }

  @Override
  public Output output(Path draftFolder, int retained, Path target) {
    int width = layout.config().intermediateSize();
    Map<Integer, LayerSize> sizes = new TreeMap<>();
    layout
        .config()
        .sparseLayers()
        .forEach(layer -> sizes.put(layer, new LayerSize(retained, width)));
    return output(draftFolder, sizes, target);
  }

  @Override
  public Output output(Path draftFolder, Map<Integer, LayerSize> sizes, Path target) {
    return new DraftedOutput(
        new CheckpointDraft(draftFolder), new SizedDraft(layout, sizes), target);
  }

  @Override
  public long fileBytes(Map<Integer, LayerSize> sizes) {
    return new SizedDraft(layout, sizes).fileBytes();
  }

  @Override
  public long expertElements(Map<Integer, LayerSize> sizes) {
    return SizedDraft.expertElements(layout, sizes);
  }

  @Override
  public long bytesPerToken(Map<Integer, LayerSize> sizes) {
    return new SizedDraft(layout, sizes).bytesPerToken();
  }

  @Override
  public void checkNarrow(int width) {
    SizedDraft.checkWidth(layout, width);
  }

  private record DraftedOutput(CheckpointDraft draft, SizedDraft sized, Path target)
      implements Output {
    @Override
    public long check() {
      return sized.writer(draft, target, null).check();
    }

    @Override
    public void write(int layer, List<Integer> experts) {
      if (experts.isEmpty()) {
        sized.write(draft, layer);
      } else {
        write(layer, LayerCut.ofExperts(experts));
      }
    }

    @Override
    public void write(int layer, LayerCut cut) {
      Telemetry.off();
      try (NDManager manager = NDManager.newBaseManager(Device.cpu(), "PyTorch")) {
        FitKernel kernel = cut.down().isEmpty() ? null : new FitKernel(manager);
        sized.write(
            draft,
            layer,
            cut,
            (place, byColumns, type) ->
                Objects.requireNonNull(kernel).stored(cut.down().get(place), byColumns, type));
      }
    }

    @Override
    public void recall(int layer, List<Integer> experts) {
      sized.recall(draft, layer, experts);
    }

    @Override
    public void complete(Provenance provenance) {
      sized.writer(draft, target, provenance).write();
    }
  }
}
