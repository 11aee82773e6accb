package io.winnow.examples.bench.speed;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import com.google.common.base.Stopwatch;
import io.winnow.core.MoeLayerView;
import io.winnow.core.RouterHook;
import io.winnow.core.RoutingDecision;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.kernel.fused.MatrixProducts;
import io.winnow.core.internal.kernel.fused.MatrixProducts.Product;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.examples.bench.measure.Timing;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * What a pass of a model cannot do without, however it is written: its matrix products, with the
 * tokens that each expert really has, and reading the weights of these products once. Norms,
 * routing and attention's products of tokens with tokens are not part of it.
 *
 * <p>As a hook it counts the tokens of each expert in the last pass before it is measured.
 */
final class SpeedFloor implements RouterHook {
  private static final Pattern LAYER = Pattern.compile("model\\.layers\\.(\\d+)\\.(.+)\\.weight");
  private static final Pattern EXPERT = Pattern.compile(".*\\.experts\\.(\\d+)\\..*");
  private static final Pattern QUERY_KEY_VALUE = Pattern.compile(".*\\.[qkv]_proj");

  /** What the cache needs of a layer. */
  private static final Pattern KEY_VALUE = Pattern.compile(".*\\.(k|v|kv_[ab]|qkv)_proj.*");

  /** Weights that are made for the products; those of several layers share them beyond. */
  private static final long WEIGHT_BYTES = 4L << 30;

  /** What is read to find the bandwidth: more than caches hold. */
  private static final long READ_BYTES = 512L << 20;

  private static final int RUNS = 5;

  private final Checkpoint checkpoint;
  private final Device device;
  private final DataType type;
  private final Map<Integer, RoutingDecision> decisions = new HashMap<>();
  private long tokens;

  /** Prepares the floor of a model that was loaded from a folder; reads no weights. */
  SpeedFloor(Path folder, Model model) {
    checkpoint = Checkpoint.open(folder);
    device = model.getNDManager().getDevice();
    type = model.getDataType();
  }

  @Override
  public RoutingDecision onRouting(MoeLayerView layer, float[] logits, RoutingDecision decision) {
    decisions.put(layer.layerIndex(), decision);
    tokens = decision.tokens();
    return decision;
  }

  /**
   * Returns the products of the last pass; none where the experts of a layer have no tensors of
   * their own, whose products are not known then.
   *
   * @param sequences whose last tokens have logits
   */
  List<Product> products(long sequences) {
    if (checkpoint.tensors().keySet().stream().noneMatch(name -> EXPERT.matcher(name).matches())) {
      return List.of();
    }
    Map<Integer, List<TensorInfo>> layers = new TreeMap<>();
    for (TensorInfo tensor : new TreeMap<>(checkpoint.tensors()).values()) {
      Matcher name = LAYER.matcher(tensor.name());
      if (name.matches() && tensor.shape().size() == 2) {
        layers
            .computeIfAbsent(Integer.valueOf(name.group(1)), layer -> new ArrayList<>())
            .add(tensor);
      }
    }
    long layerBytes =
        layers.values().stream()
            .mapToLong(tensors -> tensors.stream().mapToLong(this::bytes).sum())
            .max()
            .orElse(1);
    int distinct = (int) Math.max(1, WEIGHT_BYTES / layerBytes);
    List<Product> products = new ArrayList<>();
    int last = layers.keySet().stream().mapToInt(layer -> layer).max().orElse(0);
    layers.forEach(
        (layer, tensors) ->
            products.addAll(
                products(layer, tensors, layer % distinct, layer == last ? sequences : tokens)));
    boolean tied = !checkpoint.has("lm_head.weight");
    TensorInfo head = checkpoint.tensor(tied ? "model.embed_tokens.weight" : "lm_head.weight");
    products.add(new Product(sequences, head.shape().get(1), head.shape().get(0), head.name()));
    return products;
  }

  private long bytes(TensorInfo tensor) {
    return tensor.elements() * type.getNumOfBytes();
  }

  /**
   * Returns the products of a layer.
   *
   * @param wanted how many tokens have a result that somebody needs; of the others the cache needs
   *     keys and values
   */
  private List<Product> products(int layer, List<TensorInfo> tensors, int weights, long wanted) {
    // Query, key and value are one product: they have the same input.
    Map<String, Product> products = new LinkedHashMap<>();
    for (TensorInfo tensor : tensors) {
      Matcher name = LAYER.matcher(tensor.name());
      Matcher expert = EXPERT.matcher(tensor.name());
      String part = name.matches() ? name.group(2) : "";
      long rows = wanted;
      if (expert.matches()) {
        rows = takers(layer, Integer.parseInt(expert.group(1)), wanted);
      } else if (KEY_VALUE.matcher(part).matches()) {
        rows = tokens;
      }
      if (rows == tokens && QUERY_KEY_VALUE.matcher(part).matches()) {
        part = "query, key and value";
      }
      long inner = tensor.shape().get(1);
      long columns = tensor.shape().get(0);
      if (rows > 0) {
        Product product = new Product(rows, inner, columns, weights + " " + part);
        products.merge(
            part,
            product,
            (one, other) ->
                new Product(one.rows(), inner, one.columns() + other.columns(), one.weight()));
      }
    }
    return List.copyOf(products.values());
  }

  /** Returns how many of each sequence's last tokens, {@code wanted} in all, take an expert. */
  private long takers(int layer, int expert, long wanted) {
    RoutingDecision decision = Objects.requireNonNull(decisions.get(layer));
    long takers = 0;
    long every = tokens / wanted;
    for (long token = every - 1; token < tokens; token += every) {
      for (int rank = 0; rank < decision.topK(); rank++) {
        takers += decision.expert((int) token, rank) == expert ? 1 : 0;
      }
    }
    return takers;
  }

  /** Prepares products that are measured in turn with what they are the floor of. */
  Rounds rounds(List<Product> products) {
    return new Rounds(products);
  }

  /** Measurements of the same products. Whoever gets them closes them. */
  final class Rounds implements AutoCloseable {
    private final List<Product> products;
    private final @Nullable MatrixProducts arrays;
    private final List<Double> seconds = new ArrayList<>();

    private Rounds(List<Product> products) {
      this.products = products;
      arrays = products.isEmpty() ? null : new MatrixProducts(device, type, products);
      if (arrays != null) {
        var unused = arrays.seconds(); // The first time takes longer.
      }
    }

    /** Measures once more, if there are products. */
    void once() {
      if (arrays != null) {
        seconds.add(arrays.seconds());
      }
    }

    /** Returns the median, as of what is compared with it; null where there is no product. */
    @Nullable Seconds result() {
      if (seconds.isEmpty()) {
        return null;
      }
      long bytes =
          products.stream().mapToLong(p -> p.inner() * p.columns() * type.getNumOfBytes()).sum();
      return new Seconds(Timing.median(seconds), bytes, bytesPerSecond());
    }

    @Override
    public void close() {
      if (arrays != null) {
        arrays.close();
      }
    }
  }

  private double bytesPerSecond() {
    double best = Double.MAX_VALUE;
    try (NDManager manager = NDManager.newBaseManager(device, "PyTorch");
        NDArray numbers = manager.randomUniform(0, 1, new Shape(READ_BYTES / Float.BYTES))) {
      for (int i = 0; i <= RUNS; i++) {
        Stopwatch time = Stopwatch.createStarted();
        try (NDArray sum = numbers.sum()) {
          var unused = sum.getFloat(); // Waits for the device.
        }
        best = Math.min(best, Timing.seconds(time));
      }
    }
    return READ_BYTES / best;
  }

  /**
   * What was measured.
   *
   * @param products seconds of the matrix products alone
   * @param activeBytes of the weights that are multiplied
   * @param bytesPerSecond at which a sum of numbers in memory reads them
   */
  record Seconds(double products, long activeBytes, double bytesPerSecond) {
    /** The seconds of reading the weights alone. */
    double reading() {
      return activeBytes / bytesPerSecond;
    }
  }
}
